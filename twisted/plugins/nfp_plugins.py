"""The processes that twistd can run."""

from twisted.application.service import ServiceMaker

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
