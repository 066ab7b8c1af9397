package packfile

import (
	"strconv"
	"strings"
)

// maxModules bounds a .gitmodules that is judged here.
const maxModules = 1 << 20

// plainModules reports whether git's fsck finds nothing in a .gitmodules: no
// name, path, URL or way to update that a program could take for an option, a
// command, another host or a way out of the work tree (CVE-2018-11235,
// CVE-2018-17456, CVE-2019-19604, CVE-2020-5260, CVE-2020-11008).
func plainModules(data []byte) bool {
	if len(data) > maxModules {
		return false
	}
	return settings(data, func(s setting) bool {
		if s.section != "submodule" || !s.named {
			return true
		}
		return moduleName(s.name) && (!s.has || moduleSetting(s.key, s.value))
	}) == nil
}

// moduleName is git's check_submodule_name.
func moduleName(name string) bool {
	if name == "" {
		return false
	}
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return false
		}
	}
	return true
}

func moduleSetting(key, value string) bool {
	switch key {
	case "url":
		return moduleURL(value)
	case "path":
		return !strings.HasPrefix(value, "-")
	case "update":
		return !strings.HasPrefix(value, "!")
	}
	return true
}

// moduleURL accepts less than git's check_submodule_url, whose versions differ
// in what they make of escapes and unusual characters.
func moduleURL(url string) bool {
	if strings.HasPrefix(url, "-") || strings.HasPrefix(url, ".") && strings.Contains(url, "\\") {
		return false
	}
	if strings.HasPrefix(url, "./") || strings.HasPrefix(url, "../") {
		return relativeURL(url)
	}
	scheme, rest, _ := strings.Cut(url, ":")
	switch strings.ToLower(scheme) { // those that git gives to curl
	case "http", "https", "ftp", "ftps":
		return webURL(rest)
	}
	return !strings.ContainsAny(url, "\n%")
}

// relativeURL refuses what, appended to a URL, could change its host: an end of
// line, hidden or not, and an empty or odd component after the last "..".
func relativeURL(url string) bool {
	if strings.ContainsAny(url, "\n%\\") {
		return false
	}
	up := false
	for {
		rest, ok := strings.CutPrefix(url, "../")
		if up = up || ok; !ok {
			if rest, ok = strings.CutPrefix(url, "./"); !ok {
				break
			}
		}
		url = rest
	}
	return !up || !strings.HasPrefix(url, ":") && !strings.HasPrefix(url, "/")
}

// webURL accepts //USER@HOST:PORT/PATH of plain characters, after the scheme.
func webURL(rest string) bool {
	rest, ok := strings.CutPrefix(rest, "//")
	host, path, _ := strings.Cut(rest, "/")
	if user, after, found := strings.Cut(host, "@"); found {
		if !plainURL(user, "-._") || user == "" {
			return false
		}
		host = after
	}
	if name, port, found := strings.Cut(host, ":"); found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return false
		}
		host = name
	}
	if !ok || host == "" || !plainURL(host, "-.") || !plainURL(path, "-._~+,=@/") {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return false
		}
	}
	return true
}

// plainURL reports whether s has only letters, digits and these marks.
func plainURL(s, marks string) bool {
	for _, c := range []byte(s) {
		if !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return true
}
