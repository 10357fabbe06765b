"""
For each Python of a test that has Salt in it: names are those of this machine.

Salt looks its own host up, and its address, wherever it starts. Where a name server is
configured that does not answer, as in many a sandbox, each look takes ten seconds, and a test
of twenty commands takes hours. Nothing here is to leave the machine.
"""

import ipaddress
import socket

OWN = {"localhost", socket.gethostname()}

_getaddrinfo = socket.getaddrinfo


def _address(host):
    """The address that a name or an address of this machine stands for."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in OWN:
        return "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: no name of this machine") from None
    return host


def getaddrinfo(host, *arguments, **options):
    return _getaddrinfo(_address(host) if host else host, *arguments, **options)


def gethostbyname(name):
    return _address(name)


def gethostbyname_ex(name):
    return name, [], [_address(name)]


def gethostbyaddr(host):
    address = _address(host)
    if not ipaddress.ip_address(address).is_loopback:
        raise socket.herror(1, f"{host}: no address of this machine")
    return "localhost", [], [address]


socket.getaddrinfo = getaddrinfo
socket.gethostbyname = gethostbyname
socket.gethostbyname_ex = gethostbyname_ex
socket.gethostbyaddr = gethostbyaddr
