"""A libtorrent peer for the crowd benchmark.

usage: libtorrent_crowd.py seed TORRENT DIR LISTEN            prints "ready", seeds until killed
       libtorrent_crowd.py get TORRENT DIR LISTEN PEER...     prints "ready", waits for a line on
                                                              standard input, prints "done", seeds
"""
import sys
import time

import libtorrent as lt

mode, torrent, directory, listen = sys.argv[1:5]
session = lt.session({
    "listen_interfaces": listen,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "alert_mask": 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = directory
if mode == "seed":
    params.flags |= lt.torrent_flags.seed_mode
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
if mode == "get":
    print("ready", flush=True)
    sys.stdin.readline()
handle = session.add_torrent(params)
for peer in sys.argv[5:]:
    host, port = peer.split(":")
    handle.connect_peer((host, int(port)))
while not handle.status().is_seeding:
    time.sleep(0.02)
print("ready" if mode == "seed" else "done", flush=True)
sys.stdin.readline()
