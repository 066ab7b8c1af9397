package refs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// This is as much of bencoding (BEP 3) as a record needs, and strict: one
// spelling for each value. The general decoders accept several.

// errBencode means text that is not bencoded, or not canonically.
var errBencode = errors.New("not canonical bencoding")

// maxDepth bounds nesting: a record has lists in a dictionary.
const maxDepth = 4

func appendBytes(b, s []byte) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	return append(append(b, ':'), s...)
}

func appendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, 'i'), n, 10), 'e')
}

// decodeDict decodes a dictionary whose keys are sorted and unique and after
// which nothing follows. Values are int64, []byte, []any or map[string]any.
func decodeDict(b []byte) (map[string]any, error) {
	v, rest, err := decodeValue(b, maxDepth)
	if err != nil {
		return nil, err
	}
	d, ok := v.(map[string]any)
	if !ok || len(rest) != 0 {
		return nil, errBencode
	}
	return d, nil
}

func decodeValue(b []byte, depth int) (v any, rest []byte, err error) {
	if len(b) == 0 || depth == 0 {
		return nil, nil, errBencode
	}
	switch b[0] {
	case 'i':
		return decodeInt(b)
	case 'l':
		list := []any{}
		for rest = b[1:]; len(rest) == 0 || rest[0] != 'e'; list = append(list, v) {
			if v, rest, err = decodeValue(rest, depth-1); err != nil {
				return nil, nil, err
			}
		}
		return list, rest[1:], nil
	case 'd':
		return decodePairs(b[1:], depth)
	}
	return decodeBytes(b)
}

func decodePairs(b []byte, depth int) (v any, rest []byte, err error) {
	dict, last := map[string]any{}, ""
	for rest = b; len(rest) == 0 || rest[0] != 'e'; {
		key, after, err := decodeBytes(rest)
		if err != nil {
			return nil, nil, err
		}
		if len(dict) > 0 && string(key) <= last {
			return nil, nil, fmt.Errorf("%w: key %q out of order", errBencode, key)
		}
		last = string(key)
		if dict[last], rest, err = decodeValue(after, depth-1); err != nil {
			return nil, nil, err
		}
	}
	return dict, rest[1:], nil
}

func decodeInt(b []byte) (v any, rest []byte, err error) {
	end := bytes.IndexByte(b, 'e')
	if end < 0 {
		return nil, nil, errBencode
	}
	n, err := strconv.ParseInt(string(b[1:end]), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(b[1:end]) {
		return nil, nil, errBencode
	}
	return n, b[end+1:], nil
}

func decodeBytes(b []byte) (v []byte, rest []byte, err error) {
	colon := bytes.IndexByte(b, ':')
	if colon < 0 || !isNumber(string(b[:colon])) {
		return nil, nil, errBencode
	}
	n, err := strconv.ParseInt(string(b[:colon]), 10, 64)
	if err != nil || n > math.MaxInt32 || int(n) > len(b)-colon-1 {
		return nil, nil, errBencode
	}
	return b[colon+1 : colon+1+int(n)], b[colon+1+int(n):], nil
}
