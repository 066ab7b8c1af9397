"""A libtorrent DHT node that does what it is told on standard input.

Arguments: bootstrap nodes as HOST:PORT. One JSON object a line in, one out:
  {"do": "get", "key": hex, "salt": hex}             -> {"seq": n, "value": hex, "copies": n} or {}
  {"do": "put", "secret": hex, "key": hex, "salt": hex, "text": s}  -> {"stored": n}
  {"do": "peers", "target": hex}                     -> {"peers": ["HOST:PORT", ...]}
"secret" is the expanded key: libtorrent does not take seeds. Its Python
binding puts strings only and cannot show other values, so "get" reads the
values from the raw packets.
"""
import json
import sys
import time

import libtorrent as lt

settings = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": True, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "dht_bootstrap_nodes": ",".join(sys.argv[1:]),
    # All of these would cripple a network whose nodes share one address.
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False, "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_upload_rate_limit": 1000000, "dht_block_ratelimit": 1000000,
    "alert_mask": lt.alert.category_t.all_categories,
}
session = lt.session(settings)


def alerts(timeout):
    end = time.time() + timeout
    while time.time() < end:
        session.wait_for_alert(100)
        yield from session.pop_alerts()


def get(key, salt):
    session.dht_get_mutable_item(key, salt)
    best, copies = None, 0
    for a in alerts(20):
        if isinstance(a, lt.dht_pkt_alert):
            try:
                answer = lt.bdecode(a.pkt_buf).get(b"r", {})
            except Exception:
                continue
            if answer.get(b"k") == key and b"v" in answer:
                copies += 1
                if best is None or answer[b"seq"] > best[b"seq"]:
                    best = answer
        if isinstance(a, lt.dht_mutable_item_alert) and a.authoritative:
            # Its seq is what libtorrent itself found and verified.
            if best is None or best[b"seq"] != a.seq:
                return {}
            return {"seq": a.seq, "value": lt.bencode(best[b"v"]).hex(), "copies": copies}
    return {}


def put(secret, key, salt, text):
    session.dht_put_mutable_item(secret, key, text.encode(), salt)
    for a in alerts(20):
        if isinstance(a, lt.dht_put_alert):
            return {"stored": a.num_success}
    return {"stored": 0}


def peers(target):
    session.dht_get_peers(lt.sha1_hash(target))
    found = set()
    for a in alerts(5):
        if isinstance(a, lt.dht_get_peers_reply_alert):
            found.update("%s:%d" % p for p in a.peers())
            if found:
                break
    return {"peers": sorted(found)}


for a in alerts(20):
    if isinstance(a, lt.dht_bootstrap_alert):
        break
print(json.dumps({"ready": session.is_dht_running()}), flush=True)

for line in sys.stdin:
    c = json.loads(line)
    b = {k: bytes.fromhex(v) for k, v in c.items() if k not in ("do", "text")}
    if c["do"] == "get":
        out = get(b["key"], b["salt"])
    elif c["do"] == "put":
        out = put(b["secret"], b["key"], b["salt"], c["text"])
    else:
        out = peers(b["target"])
    print(json.dumps(out), flush=True)
