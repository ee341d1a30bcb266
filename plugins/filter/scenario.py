# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters of scenarios; their documentation is in the YAML files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario import gate
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.hosts import host_table as table_of
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import accelerator as accelerator_of
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import machine as machine_of
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.preflight import preflight as problems_of
from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.trials import trials as trials_of


def scenario(value: str | Mapping[str, Any], source: str = "scenario") -> dict[str, Any]:
    """Return the normalised scenario.

    :raises AnsibleFilterError: it cannot be run; the message lists every problem.
    """
    try:
        return gate.load(value, source)
    except gate.ScenarioError as error:
        raise AnsibleFilterError(f"This scenario cannot be run:\n{error}") from None


def trials(value: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the trials of a scenario in the order they run.

    :raises AnsibleFilterError: as `scenario`.
    """
    return trials_of(scenario(value))


def preflight(value: str | Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> list[str]:
    """Return every reason why the hosts cannot run the scenario.

    :raises AnsibleFilterError: as `scenario`, or a host's facts are not a mapping.
    """
    _check_hosts("preflight", source, destination)
    return problems_of(scenario(value), source, destination)


def accelerator(value: str | Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> Any:
    """Return what runs the scenario's guest on both hosts, and why.

    :raises AnsibleFilterError: as `preflight`.
    """
    _check_hosts("accelerator", source, destination)
    return accelerator_of(scenario(value)["guest"], source, destination)


def host_table(value: Mapping[str, Any]) -> str:
    """Return a table of hosts, and why any is no destination for a known method.

    :raises AnsibleFilterError: the hosts' facts are not a mapping.
    """
    for name, host in value.items():
        if not isinstance(host, Mapping):
            raise AnsibleFilterError(f"host_table: {name} must be what vcsp.testbed.testbed_info returned")
    return table_of(value)


def machine(source: Mapping[str, Any], destination: Mapping[str, Any]) -> str:
    """Return the machine type of a guest that runs on both hosts.

    :raises AnsibleFilterError: a host's facts are not a mapping.
    """
    _check_hosts("machine", source, destination)
    return machine_of(source, destination)


def _check_hosts(name: str, source: Any, destination: Any) -> None:
    for role, host in (("source", source), ("destination", destination)):
        if not isinstance(host, Mapping):
            raise AnsibleFilterError(
                f"{name}: {role} must be what vcsp.testbed.testbed_info returned, not {type(host).__name__}"
            )


class FilterModule:
    """This file's filters, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {
            "scenario": scenario,
            "trials": trials,
            "preflight": preflight,
            "accelerator": accelerator,
            "host_table": host_table,
            "machine": machine,
        }
