"""Moves one file by libtorrent, to measure beside: seed FILE TORRENT ADDRESS:PORT,
superseed with the same, or get TORRENT DIR ADDRESS:PORT PEER… (as ADDRESS:PORT). Each says
a word when it has the whole file, and uploads until its input ends."""
import os, sys, time
import libtorrent as lt


def session(listen):
    return lt.session({
        "listen_interfaces": listen, "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
        "enable_natpmp": False, "allow_multiple_connections_per_ip": True, "alert_mask": 0,
        # Over TCP alone it is at its best here: with uTP it took twice as long on loopback.
        "enable_outgoing_utp": False, "enable_incoming_utp": False,
        "connection_speed": 200, "min_reconnect_time": 1, "peer_connect_timeout": 3,
        # As its documentation advises for fast links.
        "send_buffer_watermark": 16 << 20, "send_buffer_low_watermark": 1 << 20, "send_socket_buffer_size": 1 << 20,
        "recv_socket_buffer_size": 1 << 20, "max_out_request_queue": 1500, "max_allowed_in_request_queue": 2000,
    })


def seed(path, torrent, listen, flags):
    storage = lt.file_storage()
    lt.add_files(storage, path)
    piece = 32 << 10  # as gitpeer does: at most 4096 pieces
    while storage.total_size() > piece * 4096:
        piece *= 2
    make = lt.create_torrent(storage, piece, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(make, os.path.dirname(path))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(make.generate()))
    ses = session(listen)
    handle = ses.add_torrent({"ti": lt.torrent_info(torrent), "save_path": os.path.dirname(path), "flags": flags})
    handle.set_upload_limit(-1)
    print("ready", flush=True)
    sys.stdin.read()


def get(torrent, into, listen, peers):
    ses = session(listen)
    handle = ses.add_torrent({"ti": lt.torrent_info(torrent), "save_path": into, "flags": lt.torrent_flags.update_subscribe})
    for peer in peers:
        address, port = peer.rsplit(":", 1)
        handle.connect_peer((address, int(port)))
    while not handle.status().is_seeding:
        time.sleep(0.01)
    print("done", flush=True)
    sys.stdin.read()


if sys.argv[1] == "get":
    get(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
else:
    more = lt.torrent_flags.super_seeding if sys.argv[1] == "superseed" else lt.torrent_flags.seed_mode
    seed(*sys.argv[2:5], lt.torrent_flags.seed_mode | more)
