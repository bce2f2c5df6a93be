package progress

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"plain\ttext\nof lines\n":         "plain\ttext\nof lines\n",
		"über 界 \U0001f600":               "über 界 \U0001f600",
		"\x1b[2Jgone\x1b]0;title\a":       `\u001b[2Jgone\u001b]0;title\u0007`,
		"one\roverwritten \b\x7f":         `one\u000doverwritten \u0008\u007f`,
		"C1 as UTF-8 \u009b2J":            `C1 as UTF-8 \u009b2J`,
		"C1 as a byte \x9b2J":             `C1 as a byte \x9b2J`,
		"marks \u200f\u061c, lines\u2028": `marks \u200f\u061c, lines\u2028`,
		"left\u202eto right\u2066 x \xc3": `left\u202eto right\u2066 x \xc3`,
	} {
		assert.Equal(t, Visible(in), want)
	}
	data, err := json.Marshal("\x1b \u009b \u202e \x7f")
	assert.NilError(t, err)
	var back string
	assert.NilError(t, json.Unmarshal([]byte(Visible(string(data))), &back))
	assert.Equal(t, back, "\x1b \u009b \u202e \x7f")
}

func TestVisibleWriterCutAnywhere(t *testing.T) {
	const text = "a\x1b[2J界\u009b\U0001f600\n"
	for cut := range len(text) {
		var b strings.Builder
		w := VisibleWriter(&b)
		for _, part := range []string{text[:cut], text[cut:]} {
			n, err := w.Write([]byte(part))
			assert.NilError(t, err)
			assert.Equal(t, n, len(part))
		}
		assert.Equal(t, b.String(), `a\u001b[2J界\u009b`+"\U0001f600\n")
	}
}
