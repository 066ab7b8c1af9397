// Package bencode reads canonical bencode (BEP 3) from strangers.
//
// Canonical means that each value has one encoding: integers and lengths
// without leading zeros or a minus zero, dictionary keys unique and ascending
// by bytes. Anything else is refused, because what a DHT node re-encodes
// differently loses its signature, and what two readers decode differently
// has two meanings. Integers have 64 bits.
//
// The whole input is checked once, by [Parse]; nesting deeper than [MaxDepth]
// is refused, and nothing is copied: a [Value] is a window on the input, so
// that memory stays proportional to what was received. Callers bound the
// length of the input.
//
// Writing is [AppendString] and [AppendInt]; who writes a dictionary writes
// its keys in order.
package bencode
