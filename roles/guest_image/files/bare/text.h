// Copyright: vcsp.testbed contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
//
// Text without a C library.

#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdint.h>

// Each writes behind `at` and returns the new end; none ends with a zero byte.
char *put_text(char *at, const char *text);
char *put_number(char *at, uint64_t number);  // decimal, below 4e18
char *put_hex(char *at, uint32_t number);     // 8 digits

// Whether `text` starts with this word and a blank or the end; moves it behind them.
bool take_word(const char **text, const char *word);
// A decimal number of at most 10 digits, below 4,000,000,000.
bool take_number(const char **text, uint32_t *number);

#endif
