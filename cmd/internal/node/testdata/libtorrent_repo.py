"""A libtorrent session for the interop tests.

usage: libtorrent_repo.py DIR HOST:PORT <magnet links, one a line

Downloads all of them from one peer, prints "port N", and seeds until killed.
"""
import sys
import time

import libtorrent as lt

session = lt.session({
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True, "active_limit": 1000, "active_downloads": 1000, "active_seeds": 1000,
})
directory, peer = sys.argv[1:3]
host, port = peer.split(":")
handles = []
for link in sys.stdin.read().split():
    params = lt.parse_magnet_uri(link)
    params.save_path = directory
    handles.append(session.add_torrent(params))
deadline = time.time() + 90
while not all(h.status().is_seeding for h in handles):
    if time.time() > deadline:
        sys.exit("not complete: " + ", ".join(h.status().name for h in handles if not h.status().is_seeding))
    for h in handles:
        if not h.status().is_seeding and h.status().num_peers == 0:
            h.connect_peer((host, int(port)))
    time.sleep(0.2)
print("port", session.listen_port(), flush=True)
time.sleep(120)
