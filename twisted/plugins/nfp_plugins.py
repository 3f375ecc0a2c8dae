"""The processes that twistd can run."""

from twisted.application.service import ServiceMaker

proxy = ServiceMaker(
    "nfp-proxy", "nfp.proxy.tap", "NFP: bytes from a UNIX socket to a configurator.", "nfp-proxy"
)
    "nfp-proxy", "nfp.proxy.tap", "NFP: bytes from a UNIX socket to a configurator.", "nfp-proxy"
)
