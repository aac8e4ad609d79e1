package httpapi

import (
	"compress/gzip"
	_ "embed"
	"html/template"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/gorilla/mux"
	"github.com/swaggest/swgui/v5/static"
)

//go:embed docs.html
var docsPage string

//go:embed docs.js
var docsScript string

//go:embed errors.html
var errorPage string

// docsPolicy lets the docs page load from here alone. Swagger UI sets style attributes and shows icons from data URLs;
// all scripts are files.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handleDocs adds the OpenAPI document, the page that shows it, and a page per error code. All of it is served from this
// binary.
func (a *API) handleDocs() {
	docs := template.Must(template.New("docs").Parse(docsPage))
	errors := template.Must(template.New("error").Parse(errorPage))

	a.Handle("/openapi.json", http.MethodGet, http.HandlerFunc(a.serveSpec))
	a.Handle("/docs", http.MethodGet, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		servePage(w, r, docs, a.config)
	}))
	a.Handle("/docs/start.js", http.MethodGet, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = io.WriteString(w, docsScript)
	}))
	a.Handle("/docs/{file}", http.MethodGet, http.HandlerFunc(serveAsset))
	a.Handle("/errors/{code}", http.MethodGet, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, known := a.faults[mux.Vars(r)["code"]]
		if !known {
			Problem(w, r, ErrNotFound)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'")
		status := Status(f.Kind())
		servePage(w, r, errors, map[string]any{
			"Title": a.config.Title, "Code": f.Code(), "Sentence": f.Sentence(), "Status": status, "Text": http.StatusText(status),
		})
	}))
}

func (a *API) serveSpec(w http.ResponseWriter, r *http.Request) {
	spec, err := a.spec()
	if err != nil {
		Problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(spec)
}

func servePage(w http.ResponseWriter, r *http.Request, page *template.Template, data any) {
	var html strings.Builder
	if err := page.Execute(&html, data); err != nil {
		Problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, html.String())
}

// serveAsset serves a file of Swagger UI, which is embedded compressed.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["file"]
	packed, err := static.FS.Open(name + ".gz")
	if err != nil || strings.HasPrefix(name, ".") {
		Problem(w, r, ErrNotFound)
		return
	}
	defer packed.Close()
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.Header().Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.Copy(w, packed)
		return
	}
	plain, err := gzip.NewReader(packed)
	if err != nil {
		Problem(w, r, err)
		return
	}
	_, _ = io.Copy(w, plain)
}
