"""watch.py FILE COMMAND...   runs the command in this network namespace, which must be new, and appends to FILE each
destination outside the machine to which a packet was sent, one a line: protocol, address, port. Exits like the command.

All IPv4 addresses are those of the namespace's loopback device: a connection to any of them is refused at once, and its
packets can be read. There is no route to IPv6 addresses, but the DNS queries for them are seen."""

import fcntl
import socket
import struct
import subprocess
import sys

# <linux/sockios.h>, <linux/if.h>, <linux/if_ether.h>
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP, ETH_P_ALL, IPV4 = 1, 3, 0x0800
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
# 1.0.0.0/8, 2.0.0.0/7, and so on to 128.0.0.0/1: Linux makes no route for a network that begins with 0.
OWN = {f"{1 << bit}.0.0.1": 8 - bit for bit in range(8)}
DNS = 53


def own_all_addresses():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        for address, prefix in OWN.items():
            name, mask = f"lo:{prefix}".encode(), struct.pack("!I", (1 << 32) - (1 << (32 - prefix)))
            for request, value in ((SIOCSIFADDR, socket.inet_aton(address)), (SIOCSIFNETMASK, mask)):
                fcntl.ioctl(control, request, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, value))


def destination(frame):
    """None if it is within the machine. Its name server may be on it."""
    packet = frame[14:]
    if struct.unpack("!H", frame[12:14])[0] != IPV4:
        return None
    header, protocol = (packet[0] & 15) * 4, packet[9]
    address = socket.inet_ntop(socket.AF_INET, packet[16:20])
    port = struct.unpack("!H", packet[header + 2 : header + 4])[0] if protocol in (6, 17) else 0
    if (address in OWN or address.startswith("127.")) and port != DNS:
        return None
    return f"{PROTOCOLS.get(protocol, protocol)} {address} {port}"


def main():
    own_all_addresses()
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    packets.bind(("lo", 0))
    code = subprocess.call(sys.argv[2:])
    packets.setblocking(False)
    found = set()
    while True:
        try:
            found.add(destination(packets.recv(65536)))
        except BlockingIOError:
            break
    with open(sys.argv[1], "a", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in sorted(found - {None}))
    return code


sys.exit(main())
