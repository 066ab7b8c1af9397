"""A libtorrent peer for the interop tests.

usage: libtorrent_peer.py get MAGNET DIR HOST:PORT     downloads, prints "done"
       libtorrent_peer.py seed TORRENT DIR             prints "port N", seeds until killed
"""
import sys
import time

import libtorrent as lt

session = lt.session({
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
})
mode, torrent, directory = sys.argv[1:4]
if mode == "get":
    params = lt.parse_magnet_uri(torrent)
else:
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
params.save_path = directory
handle = session.add_torrent(params)
if mode == "get":
    host, port = sys.argv[4].split(":")
    deadline = time.time() + 60
    while not handle.status().is_seeding and time.time() < deadline:
        if handle.status().num_peers == 0:
            handle.connect_peer((host, int(port)))
        time.sleep(0.1)
    print("done" if handle.status().is_seeding else "failed", flush=True)
else:
    while not handle.status().is_seeding:
        time.sleep(0.05)
    print("port", session.listen_port(), flush=True)
    time.sleep(60)
