package uaa

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// uaaCLI runs uaa-cli against a UAA, with settings of its own.
type uaaCLI struct {
	t             *testing.T
	program, home string
	ca            string
}

// openUAACLI is uaa-cli as UAA_CLI names it or PATH has it, logged in as the client admin.
func openUAACLI(t *testing.T, u *uaa) *uaaCLI {
	t.Helper()
	program := os.Getenv("UAA_CLI")
	if program == "" {
		found, err := exec.LookPath("uaa")
		if err != nil {
			t.Skip("no `uaa` on PATH, and UAA_CLI names none")
		}
		program = found
	}
	cli := &uaaCLI{t: t, program: program, home: t.TempDir(), ca: u.CA}
	cli.run("target", u.URL)
	cli.run("get-client-credentials-token", "admin", "-s", u.ClientSecrets["admin"])
	return cli
}

func (c *uaaCLI) try(arguments ...string) (string, error) {
	command := exec.Command(c.program, arguments...)
	command.Env = append(os.Environ(), "UAA_HOME="+c.home, "HOME="+c.home, "SSL_CERT_FILE="+c.ca)
	output, err := command.CombinedOutput()
	return string(output), err
}

func (c *uaaCLI) run(arguments ...string) string {
	c.t.Helper()
	output, err := c.try(arguments...)
	if err != nil {
		c.t.Fatalf("uaa %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

func (c *uaaCLI) refused(arguments ...string) string {
	c.t.Helper()
	output, err := c.try(arguments...)
	if err == nil {
		c.t.Fatalf("uaa %s was not refused\n%s", strings.Join(arguments, " "), output)
	}
	return output
}

// shown is the resource that a command prints, without what every change moves.
func (c *uaaCLI) shown(arguments ...string) map[string]any {
	c.t.Helper()
	output := c.run(arguments...)
	begin := strings.Index(output, "{")
	if begin < 0 {
		c.t.Fatalf("uaa %s printed no resource\n%s", strings.Join(arguments, " "), output)
	}
	var resource map[string]any
	if err := json.NewDecoder(strings.NewReader(output[begin:])).Decode(&resource); err != nil {
		c.t.Fatalf("uaa %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	delete(resource, "lastModified")
	delete(resource, "meta")
	return resource
}

// onlyChanged fails if anything but one member of a resource is another one now.
func onlyChanged(t *testing.T, what, name string, value any, before, after map[string]any) {
	t.Helper()
	wanted := map[string]any{}
	for known, there := range before {
		wanted[known] = there
	}
	wanted[name] = value
	if !reflect.DeepEqual(wanted, after) {
		t.Errorf("%s changed more than %s:\nbefore %v\nafter  %v", what, name, before, after)
	}
}

// list is a list as JSON has it.
func list(texts ...string) []any {
	found := []any{}
	for _, text := range texts {
		found = append(found, text)
	}
	return found
}

// TestUAACLIClients: each option of uaa-cli changes what it names and nothing else of a client.
func TestUAACLIClients(t *testing.T) {
	cli := openUAACLI(t, startUAA(t, t.TempDir(), ""))
	cli.run("create-client", "nozzle", "-s", "the secret", "--display_name", "Nozzle",
		"--authorized_grant_types", "client_credentials,authorization_code,refresh_token",
		"--authorities", "doppler.firehose,uaa.resource", "--scope", "openid,logs.read.*",
		"--redirect_uri", "https://app.example/cb,https://app.example/other",
		"--access_token_validity", "300", "--refresh_token_validity", "3600")
	before := cli.shown("get-client", "nozzle")
	for _, option := range []struct {
		flag, argument, name string
		value                any
	}{
		{"--authorities", "doppler.firehose", "authorities", list("doppler.firehose")},
		{"--scope", "openid", "scope", list("openid")},
		{"--redirect_uri", "https://app.example/cb", "redirect_uri", list("https://app.example/cb")},
		{
			"--authorized_grant_types", "client_credentials,authorization_code", "authorized_grant_types",
			list("client_credentials", "authorization_code", "refresh_token"),
		},
		{"--display_name", "Another", "name", "Another"},
		{"--access_token_validity", "60", "access_token_validity", 60.0},
		{"--refresh_token_validity", "7200", "refresh_token_validity", 7200.0},
	} {
		cli.run("update-client", "nozzle", option.flag, option.argument)
		after := cli.shown("get-client", "nozzle")
		onlyChanged(t, "update-client "+option.flag, option.name, option.value, before, after)
		before = after
	}
	cli.run("update-client", "nozzle")
	onlyChanged(t, "update-client without options", "client_id", "nozzle", before, cli.shown("get-client", "nozzle"))

	cli.run("create-client", "copy", "--clone", "nozzle", "-s", "another secret")
	onlyChanged(t, "create-client --clone", "client_id", "copy", before, cli.shown("get-client", "copy"))

	cli.run("set-client-secret", "nozzle", "-s", "the second secret")
	onlyChanged(t, "set-client-secret", "client_id", "nozzle", before, cli.shown("get-client", "nozzle"))
	cli.refused("get-client-credentials-token", "nozzle", "-s", "the secret")
	// A client changes its own secret with the right to do so.
	cli.run("update-client", "nozzle", "--authorities", "clients.secret")
	cli.run("get-client-credentials-token", "nozzle", "-s", "the second secret")
	cli.run("change-client-secret", "--old_secret", "the second secret", "--secret", "the third secret")
	cli.run("get-client-credentials-token", "nozzle", "-s", "the third secret")
}

// TestUAACLIUsers: each option of uaa-cli changes what it names and nothing else of a user.
func TestUAACLIUsers(t *testing.T) {
	u := startUAA(t, t.TempDir(), "")
	cli := openUAACLI(t, u)
	cli.run("create-user", "ulla", "--password", "looking-glass", "--givenName", "Ulla", "--familyName", "U",
		"--email", "ulla@example.com", "--email", "u@example.com", "--phone", "1", "--phone", "2")
	cli.run("create-group", "some.group", "-d", "for tests")
	cli.run("add-member", "some.group", "ulla")
	before := cli.shown("get-user", "ulla")
	phones := func(numbers ...string) []any {
		found := []any{}
		for _, number := range numbers {
			found = append(found, map[string]any{"value": number})
		}
		return found
	}
	emails := []any{map[string]any{"value": "new@example.com", "primary": true}}
	for _, change := range []struct {
		arguments []string
		name      string
		value     any
	}{
		{[]string{"update-user", "ulla", "--familyName", "X"}, "name", map[string]any{"familyName": "X", "givenName": "Ulla"}},
		{[]string{"update-user", "ulla", "--givenName", "U."}, "name", map[string]any{"familyName": "X", "givenName": "U."}},
		{[]string{"update-user", "ulla", "--phone", "3"}, "phoneNumbers", phones("3")},
		{[]string{"update-user", "ulla", "--email", "new@example.com"}, "emails", emails},
		{[]string{"deactivate-user", "ulla"}, "active", false},
		{[]string{"activate-user", "ulla"}, "active", true},
		{[]string{"unlock-user", "ulla"}, "active", true},
	} {
		cli.run(change.arguments...)
		after := cli.shown("get-user", "ulla")
		onlyChanged(t, strings.Join(change.arguments, " "), change.name, change.value, before, after)
		before = after
	}
	// What is named as to go is what goes.
	cli.run("update-user", "ulla", "--delAttrs", "phoneNumbers")
	after := cli.shown("get-user", "ulla")
	delete(before, "phoneNumbers")
	if !reflect.DeepEqual(before, after) {
		t.Errorf("--delAttrs changed more:\nbefore %v\nafter  %v", before, after)
	}
	cli.run("get-password-token", "cf", "-s", "", "-u", "ulla", "-p", "looking-glass")
	cli.run("get-client-credentials-token", "admin", "-s", u.ClientSecrets["admin"])
	cli.run("delete-user", "ulla")
	cli.refused("get-user", "ulla")
	if members := cli.shown("get-group", "some.group")["members"]; members != nil && len(members.([]any)) != 0 {
		t.Errorf("who is gone is still in the group: %v", members)
	}
}

// TestUAACLIGroups: members come and go, and nothing else of a group does; what there is not is refused.
func TestUAACLIGroups(t *testing.T) {
	cli := openUAACLI(t, startUAA(t, t.TempDir(), ""))
	for _, name := range []string{"gina", "gerd"} {
		cli.run("create-user", name, "--password", "looking-glass", "--givenName", name, "--familyName", "G", "--email", name+"@example.com")
	}
	cli.run("create-group", "logs.read.web", "-d", "reads web")
	before := cli.shown("get-group", "logs.read.web")
	member := func(name string) map[string]any {
		return map[string]any{"origin": "uaa", "type": "USER", "value": cli.shown("get-user", name)["id"]}
	}
	cli.run("add-member", "logs.read.web", "gina")
	cli.run("add-member", "logs.read.web", "gerd")
	both := cli.shown("get-group", "logs.read.web")
	onlyChanged(t, "add-member", "members", []any{member("gina"), member("gerd")}, before, both)
	cli.run("remove-member", "logs.read.web", "gina")
	onlyChanged(t, "remove-member", "members", []any{member("gerd")}, before, cli.shown("get-group", "logs.read.web"))
	if said := cli.refused("map-group", "staff", "logs.read.web"); said == "" {
		t.Error("map-group was refused without a word")
	}
	for _, command := range []string{"list-users", "list-groups", "list-clients"} {
		if shown := cli.shown(command); len(fmt.Sprint(shown)) < 100 {
			t.Errorf("%s: %v", command, shown)
		}
	}
}

// TestUAACLIRemovals: what is removed is what was named, in the zone that was named.
func TestUAACLIRemovals(t *testing.T) {
	cli := openUAACLI(t, startUAA(t, t.TempDir(), ""))
	for _, name := range []string{"one", "two"} {
		cli.run("create-client", name, "-s", "secret of "+name, "--authorized_grant_types", "client_credentials", "--authorities", "uaa.none")
	}
	two := cli.shown("get-client", "two")
	cli.run("delete-client", "one")
	cli.refused("get-client", "one")
	cli.refused("delete-client", "one")
	onlyChanged(t, "delete-client", "client_id", "two", two, cli.shown("get-client", "two"))
	// There is one zone: what is meant for another one is not done in this one.
	output, _ := cli.try("curl", "/oauth/clients/two", "-X", "DELETE", "-H", "X-Identity-Zone-Id: other")
	if !strings.Contains(output, "does not exist") {
		t.Errorf("another zone: %s", output)
	}
	cli.run("get-client", "two")
}
