"""The processes that twistd can run."""

from twisted.application.service import ServiceMaker

manager = ServiceMaker(
    "nfp-manager", "nfp.manager.tap", "NFP: lifecycle of network services and their devices.", "nfp-manager"
)
agent = ServiceMaker(
    "nfp-agent", "nfp.agent.tap", "NFP: RPC of the manager to configurators, and back.", "nfp-agent"
)
configurator = ServiceMaker(
    "nfp-configurator", "nfp.configurator.tap", "NFP: configures and watches devices.", "nfp-configurator"
)
proxy = ServiceMaker(
    "nfp-proxy", "nfp.proxy.tap", "NFP: bytes from a UNIX socket to a configurator.", "nfp-proxy"
)
device = ServiceMaker("nfp-device", "nfp.device.tap", "NFP: the reference device runtime.", "nfp-device")
