// Reads a mutable item (BEP 44, BEP 46) with npm's bittorrent-dht.
//
// usage: node mutable.mjs magnet:?xs=urn:btpk:<key>&s=<salt in hex> HOST:PORT...
//
// Prints an object: seq, and the infohash under "ih" of the value, in hex.
import { createHash, createPublicKey, verify as edVerify } from 'node:crypto'
import { Client as DHT } from 'bittorrent-dht'

const link = new URL(process.argv[2])
const key = Buffer.from(link.searchParams.get('xs').replace('urn:btpk:', ''), 'hex')
const salt = Buffer.from(link.searchParams.get('s'), 'hex')
const verify = (sig, msg, k) => edVerify(null, msg, createPublicKey({
  key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), k]), format: 'der', type: 'spki'
}), sig)
const dht = new DHT({ bootstrap: process.argv.slice(3), verify, host: false })
dht.listen(0, '127.0.0.1', () => dht.once('ready', () => {
  const target = createHash('sha1').update(key).update(salt).digest()
  dht.get(target, { salt }, (err, item) => {
    if (err || !item) { console.error(err || 'not found'); process.exit(1) }
    const ih = Buffer.from(item.v.ih).toString('hex')
    console.log(JSON.stringify({ seq: item.seq, ih }))
    process.exit(0)
  })
}))
