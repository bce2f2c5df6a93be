// Command site is the program of the example image: it turns text files into a small web site, and shows it
// or serves it.
//
//	site render PAGES OUT    one HTML file per text file, and an index
//	site show OUT            what was rendered, on standard output
//	site serve OUT [ADDR]    the same over HTTP (default :8080)
//
// It is static and needs nothing but itself, so it works in an image made FROM scratch.
package main

import (
	"fmt"
	"html/template"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
{{range .Paragraphs}}<p>{{.}}</p>
{{end}}`))

var index = template.Must(template.New("index").Parse(`<!doctype html>
<title>Pages</title>
<ul>{{range .}}
<li><a href="{{.File}}">{{.Title}}</a></li>{{end}}
</ul>
`))

// content is one page: the first line of its text file is the title, the rest are paragraphs with blank
// lines between them.
type content struct {
	File, Title string
	Paragraphs  []string
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "render":
		return render(args[1], args[2])
	case len(args) == 2 && args[0] == "show":
		return show(args[1], out)
	case len(args) >= 2 && len(args) <= 3 && args[0] == "serve":
		addr := ":8080"
		if len(args) == 3 {
			addr = args[2]
		}
		return http.ListenAndServe(addr, http.FileServer(http.Dir(args[1])))
	}
	return fmt.Errorf("usage: site render PAGES OUT | show OUT | serve OUT [ADDR]")
}

func render(from, to string) error {
	sources, err := filepath.Glob(filepath.Join(from, "*.txt"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	var pages []content
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		title, rest, _ := strings.Cut(string(text), "\n")
		c := content{File: strings.TrimSuffix(filepath.Base(source), ".txt") + ".html", Title: title}
		for _, p := range strings.Split(strings.TrimSpace(rest), "\n\n") {
			c.Paragraphs = append(c.Paragraphs, strings.Join(strings.Fields(p), " "))
		}
		if err := write(filepath.Join(to, c.File), page, c); err != nil {
			return err
		}
		pages = append(pages, c)
	}
	fmt.Printf("rendered %d pages as uid %d in a sandbox of its own\n", len(pages), os.Getuid())
	return write(filepath.Join(to, "index.html"), index, pages)
}

func write(path string, t *template.Template, data any) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := t.Execute(f, data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func show(dir string, out io.Writer) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "--- %s\n%s", file, text)
	}
	return nil
}
