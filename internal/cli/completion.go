package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func newCompletionCommand(sh *shell) *cli.Command {
	return newCommand(cli.Command{
		Name: "completion", ArgsUsage: "bash|zsh|fish", Usage: "Print a script that completes command lines in a shell",
		Description: "bash:  cairn completion bash > ~/.local/share/bash-completion/completions/cairn\n" +
			"zsh:   cairn completion zsh > \"${fpath[1]}/_cairn\"\n" +
			"fish:  cairn completion fish > ~/.config/fish/completions/cairn.fish",
	}, 1, 1, func(cc *cli.Context) error {
		switch shell := cc.Args().First(); shell {
		case "bash":
			return bashCompletion(sh.out, cc.App)
		case "zsh":
			if _, err := io.WriteString(sh.out, "#compdef cairn\nautoload -U +X bashcompinit && bashcompinit\n"); err != nil {
				return err
			}
			return bashCompletion(sh.out, cc.App)
		case "fish":
			return fishCompletion(sh.out, cc.App)
		default:
			return &usageError{Command: "completion", Msg: fmt.Sprintf("there is no completion for %q: there are bash, zsh and fish", shell)}
		}
	})
}

// takesImages are the commands whose arguments are images of the store.
func takesImages(command string) bool {
	return slices.Contains([]string{"run", "tag", "rmi", "inspect", "history", "save"}, command)
}

// visibleFlags lists a command's flags as they are typed.
func visibleFlags(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		for _, n := range f.Names() {
			if len(n) == 1 {
				names = append(names, "-"+n)
			} else {
				names = append(names, "--"+n)
			}
		}
	}
	slices.Sort(names)
	return names
}

// bashCompletion completes commands, flags, and images where a command takes them; the rest is files.
func bashCompletion(w io.Writer, app *cli.App) error {
	var b, cases strings.Builder
	var names []string
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		names = append(names, c.Name)
		images := ""
		if takesImages(c.Name) {
			images = " images=1"
		}
		fmt.Fprintf(&cases, "\t%s) flags='%s'%s ;;\n", strings.Join(c.Names(), "|"),
			strings.Join(visibleFlags(append(slices.Clone(c.Flags), app.Flags...)), " "), images)
	}
	fmt.Fprintf(&b, `_cairn() {
	local cur=${COMP_WORDS[COMP_CWORD]} command= flags= images= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--root) ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	COMPREPLY=()
	case $command in
	'') COMPREPLY=($(compgen -W '%s %s' -- "$cur")); return ;;
%s	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$cur"))
	elif [[ $images ]]; then
		COMPREPLY=($(compgen -W "$(cairn images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)" -- "$cur"))
	fi
}
complete -o default -o bashdefault -F _cairn cairn
`, strings.Join(names, " "), strings.Join(visibleFlags(app.Flags), " "), cases.String())
	_, err := io.WriteString(w, b.String())
	return err
}

func fishCompletion(w io.Writer, app *cli.App) error {
	var b strings.Builder
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		fmt.Fprintf(&b, "complete -c cairn -n __fish_use_subcommand -f -a %s -d %s\n", c.Name, fishQuote(c.Usage))
		seen := fishQuote("__fish_seen_subcommand_from " + strings.Join(c.Names(), " "))
		for _, f := range append(slices.Clone(c.Flags), app.Flags...) {
			fmt.Fprintf(&b, "complete -c cairn -n %s%s\n", seen, fishFlag(f))
		}
		if takesImages(c.Name) {
			fmt.Fprintf(&b, "complete -c cairn -n %s -a '(cairn images --format \"{{.Repository}}:{{.Tag}}\" 2>/dev/null)'\n", seen)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func fishFlag(f cli.Flag) string {
	var text string
	for _, n := range f.Names() {
		if len(n) == 1 {
			text += " -s " + n
		} else {
			text += " -l " + n
		}
	}
	if takesValue(f) {
		text += " -r"
	}
	if d, ok := f.(cli.DocGenerationFlag); ok {
		_, usage := placeholder(d.GetUsage())
		text += " -d " + fishQuote(usage)
	}
	return text
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
