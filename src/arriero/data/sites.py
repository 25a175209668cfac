"""Which site a page is of."""

from functools import lru_cache
from urllib.parse import urlsplit

from tld import get_fld


def site_of(url: str) -> str:
    """The registrable domain of a URL; the host's last two labels where the public suffix list knows none."""
    try:
        return _site_of_host(urlsplit(url).hostname or url)
    except ValueError:  # "http://[", which is no URL
        return url


@lru_cache(1 << 16)
def _site_of_host(host: str) -> str:
    known = get_fld(host, fix_protocol=True, fail_silently=True)
    if known:
        return str(known)
    return host if host.replace(".", "").isdigit() else ".".join(host.split(".")[-2:])
