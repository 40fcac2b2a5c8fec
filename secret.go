package memoryplugin

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// secret returns the API key and the ways in which a server may write it. It is
// a func, because fmt and other printers show every field of a struct, exported
// or not, but not what a closure holds.
type secret func() (forms []string)

func newSecret(key string) secret {
	forms := writtenForms(key)
	return func() []string { return forms }
}

var (
	percentEscape    = regexp.MustCompile(`%[0-9A-F]{2}`)
	unicodeEscape    = regexp.MustCompile(`\\u[0-9a-f]{4}`)
	keptByJavaScript = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")
	namedQuotes      = strings.NewReplacer("&#34;", "&quot;", "&#39;", "&apos;")
	dotNETJSON       = strings.NewReplacer(
		`\`, `\\`, `"`, `\u0022`, "&", `\u0026`, "'", `\u0027`, "+", `\u002B`, "<", `\u003C`, ">", `\u003E`, "`", `\u0060`)
)

// writtenForms returns key as it is, and as JSON, a URL or HTML may escape it.
// Nearly every key has nothing to escape, and so one form.
func writtenForms(key string) []string {
	short := inside(strconv.Quote(key))
	long, _ := json.Marshal(key) // With < > & as \u003c.
	json := inside(string(long))
	query, path := url.QueryEscape(key), url.PathEscape(key)
	markup := html.EscapeString(key)
	forms := []string{
		key, short, strings.ReplaceAll(short, "/", `\/`),
		json, unicodeEscape.ReplaceAllStringFunc(json, func(s string) string { return `\u` + strings.ToUpper(s[2:]) }), dotNETJSON.Replace(key),
		markup, namedQuotes.Replace(markup),
	}
	for _, escaped := range []string{query, path, strings.ReplaceAll(query, "~", "%7E"), keptByJavaScript.Replace(query)} {
		forms = append(forms, escaped, percentEscape.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// inside returns what is between the quotes. The key itself may end with one.
func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

// strike replaces the key by as many asterisks: the length stays, so that a
// text can be cut after it at a place that was chosen before.
func (s secret) strike(text string) string {
	for _, form := range s() {
		if strings.Contains(text, form) {
			text = strings.ReplaceAll(text, form, strings.Repeat("*", len(form)))
		}
	}
	return text
}

// quote quotes text from a server, without the key.
func (s secret) quote(text []byte) string {
	return quote(s.strike(string(text[:min(len(text), maxErrorBody)]))) // More than is quoted, for a key across the cut.
}

// strikeHeader returns a copy of h without the key, not even in a name, of which
// net/http changes the case.
func (s secret) strikeHeader(h http.Header) http.Header {
	struck := make(http.Header, len(h))
	for name, values := range h {
		for _, form := range s() {
			if strings.Contains(strings.ToLower(name), strings.ToLower(form)) {
				name = strings.Repeat("*", len(name))
			}
		}
		for _, value := range values {
			struck[name] = append(struck[name], s.strike(value))
		}
	}
	return struck
}
