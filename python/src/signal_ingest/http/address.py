"""The service's address, and the proxy on the way to it."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import Optional
from urllib.parse import quote, urlsplit


@dataclass(frozen=True)
class Address:
    """Where to connect, and what every path begins with."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """The value of ``Host``: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def parse_address(url: str) -> Address:
    """Reads the address of a service. Its path is kept in front of the API's.

    Raises ValueError: it is not an http or https address, or has a login, a query or a fragment.
    """
    if not isinstance(url, str):
        raise ValueError(f"url is not an address, such as https://signals.example.com; it is {url!r:.200}.")
    if re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("url must not contain white space or control characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("ascii" if (parts.hostname or "").isascii() else "idna").decode()
    except ValueError:
        raise ValueError("url is not an address, such as https://signals.example.com.") from None
    if "@" in parts.netloc:
        raise ValueError("url must not contain a user name or a password; give the key as key.")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("url must not contain a query or a fragment.")
    if not parts.scheme or not (host or parts.scheme not in ("http", "https")):
        raise ValueError(f"url is not an address, such as https://signals.example.com; it is {url[:200]!r}.")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"url must begin with http:// or https://; it begins with {parts.scheme}:.")
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return Address(parts.scheme, host, port or _default_port(parts.scheme), path)


def proxy_of(address: Address) -> Optional[Address]:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name for an address; None without one.

    Raises ValueError: the proxy is not an http address.
    """
    proxies = urllib.request.getproxies_environment()
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname or "@" in proxy.netloc:
        raise ValueError("The proxy of the environment must be an http address without a login.")
    return Address("http", proxy.hostname, proxy.port or 80, "")
