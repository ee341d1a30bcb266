// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// See text.h.

#include "text.h"

#include "cpu.h"

char *put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static char *put_digits(char *at, uint32_t number, int least)
{
    char digits[10];
    int count = 0;
    while (number || count < least) {
        uint32_t digit;
        number = divide(number, 10, &digit);
        digits[count++] = (char)('0' + digit);
    }
    while (count)
        *at++ = digits[--count];
    return at;
}

char *put_number(char *at, uint64_t number)
{
    if (number >> 32 == 0)
        return put_digits(at, (uint32_t)number, 1);
    uint32_t low;
    const uint32_t high = divide(number, 1000000000, &low);
    return put_digits(put_digits(at, high, 1), low, 9);
}

char *put_hex(char *at, uint32_t number)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[number >> shift & 15];
    return at;
}

static bool is_end(char character) { return character == ' ' || character == '\0'; }

static const char *behind_blanks(const char *text)
{
    while (*text == ' ')
        text++;
    return text;
}

bool take_word(const char **text, const char *word)
{
    const char *at = *text;
    while (*word)
        if (*at++ != *word++)
            return false;
    if (!is_end(*at))
        return false;
    *text = behind_blanks(at);
    return true;
}

bool take_number(const char **text, uint32_t *number)
{
    const char *at = *text;
    *number = 0;
    while (*at >= '0' && *at <= '9' && at - *text < 10 && *number < 400000000)
        *number = *number * 10 + (uint32_t)(*at++ - '0');
    if (at == *text || !is_end(*at))
        return false;
    *text = behind_blanks(at);
    return true;
}
