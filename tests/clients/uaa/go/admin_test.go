package uaa

import (
	"strings"
	"testing"

	gouaa "github.com/cloudfoundry-community/go-uaa"
)

// TestGoUAA: the library that platform tools administer a UAA with: users, groups, clients, filters, keys.
func TestGoUAA(t *testing.T) {
	u := startUAA(t, t.TempDir(), "")
	api, err := gouaa.New(
		u.URL,
		gouaa.WithClientCredentials("admin", u.ClientSecrets["admin"], gouaa.JSONWebToken),
		gouaa.WithClient(u.client()),
		gouaa.WithTransport(u.client().Transport),
	)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	healthy, err := api.IsHealthy()
	must(err)
	info, err := api.GetInfo()
	must(err)
	if !healthy || info.Links.Login != u.URL || info.Prompts["username"][0] != "text" {
		t.Fatalf("info: %+v", info)
	}
	keys, err := api.TokenKeys()
	must(err)
	if len(keys) != 1 || keys[0].Alg != "RS256" || !strings.HasPrefix(keys[0].Value, "-----BEGIN PUBLIC KEY-----") {
		t.Fatalf("keys: %+v", keys)
	}
	issuer, err := api.Issuer()
	must(err)
	if issuer != u.issuer() {
		t.Fatal(issuer)
	}

	yes := true
	user, err := api.CreateUser(gouaa.User{
		Username: "anna", Password: "looking-glass", Name: &gouaa.UserName{GivenName: "Anna"},
		Emails: []gouaa.Email{{Value: "anna@example.com", Primary: &yes}},
	})
	must(err)
	if _, err := api.CreateUser(*user); err == nil {
		t.Fatal("the same name twice")
	}
	found, err := api.GetUserByUsername("ANNA", "uaa", "")
	must(err)
	if found.ID != user.ID || found.Origin != "uaa" || !*found.Active {
		t.Fatalf("found %+v", found)
	}
	found.Name.FamilyName = "A."
	updated, err := api.UpdateUser(*found)
	must(err)
	if updated.Name.FamilyName != "A." || updated.Meta.Version != 1 {
		t.Fatalf("updated %+v", updated)
	}
	must(api.DeactivateUser(user.ID, 1))
	must(api.ActivateUser(user.ID, 2))
	for number := range 3 {
		name := string(rune('x' + number))
		_, err := api.CreateUser(gouaa.User{Username: name, Password: "looking-glass", Emails: []gouaa.Email{{Value: name + "@example.com"}}})
		must(err)
	}
	page, about, err := api.ListUsers(`userName eq "x" or userName eq "y" or userName eq "z"`, "userName", "", gouaa.SortDescending, 2, 1)
	must(err)
	if len(page) != 1 || page[0].Username != "y" || about.TotalResults != 3 || about.StartIndex != 2 {
		t.Fatalf("a page: %+v %+v", page, about)
	}
	all, err := api.ListAllUsers("", "created", "", gouaa.SortAscending)
	must(err)
	if len(all) != 5 || all[0].Username != u.AdminUser {
		t.Fatalf("%d users, first %q", len(all), all[0].Username)
	}

	group, err := api.CreateGroup(gouaa.Group{DisplayName: "logs.read.anna", Description: "anna's"})
	must(err)
	must(api.AddGroupMember(group.ID, user.ID, "", ""))
	group, err = api.GetGroupByName("logs.read.anna", "")
	must(err)
	if len(group.Members) != 1 || group.Members[0].Value != user.ID {
		t.Fatalf("members: %+v", group.Members)
	}
	group.Description = "changed"
	group, err = api.UpdateGroup(*group)
	must(err)
	if group.Description != "changed" || len(group.Members) != 1 {
		t.Fatalf("updated %+v", group)
	}
	must(api.RemoveGroupMember(group.ID, user.ID, "", ""))
	_, err = api.DeleteGroup(group.ID)
	must(err)
	if _, err := api.GetGroup(group.ID); err == nil {
		t.Fatal("the group is still there")
	}

	client, err := api.CreateClient(gouaa.Client{
		ClientID: "made", ClientSecret: "one", AuthorizedGrantTypes: []string{"client_credentials"},
		Authorities: []string{"uaa.resource"}, AccessTokenValidity: 60,
	})
	must(err)
	if client.AccessTokenValidity != 60 || client.ClientSecret != "" {
		t.Fatalf("client %+v", client)
	}
	must(api.ChangeClientSecret("made", "two"))
	own, err := gouaa.New(
		u.URL,
		gouaa.WithClientCredentials("made", "two", gouaa.JSONWebToken),
		gouaa.WithClient(u.client()),
		gouaa.WithTransport(u.client().Transport),
	)
	must(err)
	if _, err := own.Token(u.context()); err != nil {
		t.Fatal(err)
	}
	client.DisplayName = "Made"
	_, err = api.UpdateClient(*client)
	must(err)
	clients, err := api.ListAllClients(`client_id eq "made"`, "client_id", gouaa.SortAscending)
	must(err)
	if len(clients) != 1 || clients[0].DisplayName != "Made" {
		t.Fatalf("clients %+v", clients)
	}
	_, err = api.DeleteClient("made")
	must(err)
	_, err = api.DeleteUser(user.ID)
	must(err)

	me, err := gouaa.New(
		u.URL,
		gouaa.WithPasswordCredentials("cf", "", u.AdminUser, u.AdminPassword, gouaa.JSONWebToken),
		gouaa.WithClient(u.client()),
		gouaa.WithTransport(u.client().Transport),
	)
	must(err)
	who, err := me.GetMe()
	must(err)
	if who.Username != u.AdminUser {
		t.Fatalf("I am %+v", who)
	}
}
