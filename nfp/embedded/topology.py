"""The fabric of one deployment, and the service tenant on it: router and configurator.

Blocking; call from a thread.  Raising it again adopts what is there; taking it down removes every
namespace that bears the deployment's name, devices and lab hosts included.
"""

from __future__ import annotations

from nfp.embedded.configuration import CONFIGURATOR, ROUTER
from nfp.embedded.state_dir import StateDir
from nfp.manager.lifecycle.fabric import MANAGEMENT_NETWORK, Fabric, bridge_name, derived_mac, port_name
from nfp.manager.lifecycle.namespace import SYSCTLS
from nfp.manager.lifecycle.occupants import end_processes
from nfp.netns import namespaces
from nfp.netns.links import Nic

END_SECONDS = 5.0


def fabric_of(state: StateDir) -> Fabric:
    """The deployment's bridges."""
    return Fabric(state.fabric, state.run / "fabric.lock")


def standing(state: StateDir) -> list[str]:
    """Names of the deployment's namespaces that are there."""
    return namespaces.names(state.namespace_prefix)


def raise_up(state: StateDir) -> None:
    """Make fabric, router and configurator namespaces with the management network, or complete them."""
    namespaces.ensure(state.fabric)
    fabric = fabric_of(state)
    for namespace, last in ((state.router, ROUTER), (state.configurator, CONFIGURATOR)):
        nic = Nic(
            name="eth0",
            bridge=bridge_name(MANAGEMENT_NETWORK),
            host_name=port_name(namespace, MANAGEMENT_NETWORK),
            mac=derived_mac(namespace, MANAGEMENT_NETWORK),
            addresses=(f"{state.management_address(last)}/64",),
        )
        fabric.plug(namespace, [nic], sysctls=SYSCTLS)


def take_down(state: StateDir) -> list[str]:
    """End every process inside the deployment's namespaces and remove them; the fabric goes last.

    :return: what was there.
    """
    there = sorted(standing(state), key=lambda name: name == state.fabric)
    for namespace in there:
        end_processes(namespace, END_SECONDS)
        namespaces.delete(namespace)
    return there
