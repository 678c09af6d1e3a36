//! Users, as the cf CLI, uaac and the Cloud Controller use them.

use serde_json::{Value, json};

use crate::common::{Answer, Uaa, query, texts};

pub async fn find(uaa: &Uaa, token: &str, path: &str, filter: &str) -> Answer {
    let path = format!("{path}?{}", query(&[("filter", filter)]));
    uaa.client.get(&path).bearer(token).send().await
}

/// A user is created and deleted, as by `cf create-user` and `cf delete-user`, and read and changed between.
pub async fn users(uaa: &Uaa) {
    let root = uaa.root().await;
    let new = json!({
        "userName": "Ursula@example.com",
        "password": "pw",
        "origin": "",
        "name": {"familyName": "U", "givenName": "Ursula"},
        "emails": [{"value": "ursula@example.com", "primary": true}],
    });
    let post =
        |token: String, body: Value| async move { uaa.client.post("/Users").bearer(&token).json(&body).send().await };
    let made = post(root.clone(), new.clone()).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["userName"], &made["origin"]),
        (&"Ursula@example.com".into(), &"uaa".into())
    );
    assert_eq!((&made["active"], &made["verified"]), (&true.into(), &false.into()));
    assert_eq!((&made["zoneId"], &made["meta"]["version"]), (&"uaa".into(), &0.into()));
    assert_eq!(texts(&made["schemas"]), ["urn:scim:schemas:core:1.0"]);
    assert!(made["passwordLastModified"].as_str().unwrap().ends_with('Z'));
    assert!(!made.to_string().contains("argon2"), "{made}");
    let displays: Vec<&str> = made["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["display"].as_str().unwrap())
        .collect();
    assert!(displays.contains(&"openid") && displays.contains(&"uaa.user"));
    let again = json!({"userName": "ursula@EXAMPLE.com", "emails": [{"value": "u@example.com"}]});
    let taken = post(root.clone(), again)
        .await
        .refused(409, "scim_resource_already_exists");
    assert_eq!(
        (&taken["user_id"], &taken["active"], &taken["verified"]),
        (&id.as_str().into(), &true.into(), &false.into())
    );
    // One name at another origin is another user.
    let elsewhere = json!({"userName": "ursula@example.com", "origin": "ldap", "emails": [{"value": "u@example.com"}]});
    let elsewhere = post(root.clone(), elsewhere).await.expect(201);
    assert_eq!(elsewhere["origin"], "ldap");
    uaa.login("ursula@example.com", "pw").await.ok();

    for bad in [
        json!({}),
        json!({"userName": ""}),
        json!({"userName": "a b"}),
        json!({"userName": "x".repeat(256)}),
        json!({"userName": "<script>"}),
        json!({"userName": "okay", "emails": [{"value": "no address"}]}),
        json!({"userName": "okay", "emails": []}),
        json!([1]),
    ] {
        post(root.clone(), bad.clone())
            .await
            .refused(400, "invalid_scim_resource");
    }
    let user = uaa.login("ursula@example.com", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    post(user.clone(), new.clone()).await.refused(403, "insufficient_scope");
    uaa.client
        .post("/Users")
        .json(&new)
        .send()
        .await
        .refused(401, "unauthorized");
    // A user may read themselves only.
    let path = format!("/Users/{id}");
    let shown = uaa.client.get(&path).bearer(&user).send().await.ok();
    assert_eq!(shown["id"], id.as_str());
    let other = format!("/Users/{}", elsewhere["id"].as_str().unwrap());
    uaa.client
        .get(&other)
        .bearer(&user)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client
        .get("/Users/nobody")
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");

    // A change needs the version that it is based on.
    let put = |version: &'static str, body: Value| {
        let (path, root) = (path.clone(), root.clone());
        async move {
            uaa.client
                .put(&path)
                .bearer(&root)
                .header("if-match", version)
                .json(&body)
                .send()
                .await
        }
    };
    let change = json!({"userName": "ursula@example.com", "name": {"givenName": "U."}, "emails": [{"value": "new@example.com"}]});
    let version = shown["meta"]["version"].to_string();
    let changed = put(Box::leak(version.into_boxed_str()), change.clone()).await.ok();
    assert_eq!(changed["name"], json!({"givenName": "U."}));
    assert_eq!(put("0", change.clone()).await.status, 412);
    uaa.client
        .put(&path)
        .bearer(&root)
        .json(&change)
        .send()
        .await
        .refused(400, "invalid_scim_resource");
    put("*", json!({"userName": "ursula@example.com", "origin": "ldap"}))
        .await
        .refused(400, "invalid_scim_resource");
    let patch = json!({"phoneNumbers": [{"value": "1"}], "meta": {"attributes": ["name.givenName"]}});
    let patched = uaa
        .client
        .patch(&path)
        .bearer(&root)
        .header("if-match", "*")
        .json(&patch)
        .send()
        .await
        .ok();
    assert_eq!(
        (&patched["name"], &patched["phoneNumbers"]),
        (&json!({}), &json!([{"value": "1"}]))
    );
    assert_eq!(patched["emails"][0]["value"], "new@example.com");

    uaa.client
        .delete(&path)
        .bearer(&user)
        .send()
        .await
        .refused(403, "insufficient_scope");
    assert_eq!(
        uaa.client.delete(&path).bearer(&root).send().await.ok()["id"],
        id.as_str()
    );
    uaa.client
        .delete(&path)
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");
    uaa.check(&user).await.refused(400, "invalid_token");
    uaa.login("ursula@example.com", "pw").await.refused(401, "unauthorized");
}

/// The filters of the cf CLI and uaac work, and lists have pages.
pub async fn filters_and_pages(uaa: &Uaa) {
    let root = uaa.root().await;
    for number in 0..7 {
        uaa.add_user(&format!("filter-{number}"), "pw").await;
    }
    let found = find(uaa, &root, "/Users", "userName eq \"Filter-3\" and origin eq \"uaa\"")
        .await
        .ok();
    assert_eq!(
        (&found["totalResults"], &found["startIndex"], &found["itemsPerPage"]),
        (&1.into(), &1.into(), &100.into())
    );
    assert_eq!(found["resources"][0]["userName"], "filter-3");
    let number = |filter: &'static str| {
        let root = root.clone();
        async move {
            find(uaa, &root, "/Users", filter).await.ok()["totalResults"]
                .as_i64()
                .unwrap()
        }
    };
    assert_eq!(number("username sw \"filter-\"").await, 7);
    assert_eq!(number("userName co \"TER-\" and active eq true").await, 7);
    assert_eq!(
        number("userName sw \"filter-\" and (userName co \"1\" or email eq \"filter-2@example.com\")").await,
        2
    );
    assert_eq!(number("userName sw \"filter-\" and not (userName co \"1\")").await, 6);
    assert_eq!(number("userName eq \"filter-1' or 1=1 --\"").await, 0);
    assert_eq!(number("userName co \"%\"").await, 0);
    assert_eq!(
        number("userName sw \"filter-\" and meta.created gt \"2020-01-01T00:00:00.000Z\"").await,
        7
    );
    assert_eq!(
        number("userName sw \"filter-\" and meta.created gt \"2120-01-01T00:00:00.000Z\"").await,
        0
    );
    for bad in [
        "userName",
        "userName eq",
        "password eq \"x\"",
        "password_hash sw \"$\"",
        "userName eq \"x\" or",
    ] {
        assert_eq!(find(uaa, &root, "/Users", bad).await.status, 400, "{bad}");
    }
    let mut names = Vec::new();
    for start in ["1", "4", "7"] {
        let fields = [
            ("filter", "userName sw \"filter-\""),
            ("startIndex", start),
            ("count", "3"),
            ("sortBy", "userName"),
            ("sortOrder", "descending"),
            ("attributes", "userName"),
        ];
        let page = uaa
            .client
            .get(&format!("/Users?{}", query(&fields)))
            .bearer(&root)
            .send()
            .await
            .ok();
        assert_eq!((&page["totalResults"], &page["itemsPerPage"]), (&7.into(), &3.into()));
        for user in page["resources"].as_array().unwrap() {
            assert_eq!(user.as_object().unwrap().len(), 1);
            names.push(user["userName"].as_str().unwrap().to_owned());
        }
    }
    let expected: Vec<String> = (0..7).rev().map(|number| format!("filter-{number}")).collect();
    assert_eq!(names, expected);
    let user = uaa.login("filter-1", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    find(uaa, &user, "/Users", "userName eq \"filter-2\"")
        .await
        .refused(403, "insufficient_scope");
}

/// A user changes their password with the old one, an administrator that of others without it; both revoke all tokens.
pub async fn passwords(uaa: &Uaa) {
    let id = uaa.add_user("pamela", "first").await;
    let path = format!("/Users/{id}/password");
    let body = uaa.login("pamela", "first").await.ok();
    let token = body["access_token"].as_str().unwrap().to_owned();
    let put = |token: String, body: Value| {
        let path = path.clone();
        async move { uaa.client.put(&path).bearer(&token).json(&body).send().await }
    };
    put(token.clone(), json!({"password": "second"}))
        .await
        .refused(400, "access_denied");
    put(token.clone(), json!({"oldPassword": "wrong", "password": "second"}))
        .await
        .refused(401, "unauthorized");
    let same = put(token.clone(), json!({"oldPassword": "first", "password": "first"})).await;
    same.refused(422, "invalid_password");
    put(token.clone(), json!({"oldPassword": "first", "password": ""}))
        .await
        .refused(400, "invalid_password");
    put(
        token.clone(),
        json!({"oldPassword": "first", "password": "x".repeat(256)}),
    )
    .await
    .refused(400, "invalid_password");
    let done = put(token.clone(), json!({"oldPassword": "first", "password": "second"}))
        .await
        .ok();
    assert_eq!(done, json!({"status": "ok", "message": "password updated"}));
    uaa.check(&token).await.refused(400, "invalid_token");
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    uaa.token_as("cf", "", &refresh).await.refused(401, "invalid_token");
    uaa.login("pamela", "first").await.refused(401, "unauthorized");
    // New tokens are valid, even those of the second in which the older ones were revoked.
    let fresh = uaa.login("pamela", "second").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    uaa.check(&fresh).await.ok();
    // The passwords of others.
    uaa.add_user("peter", "pw").await;
    let other = uaa.login("peter", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    put(other, json!({"oldPassword": "second", "password": "third"}))
        .await
        .refused(400, "access_denied");
    put(uaa.root().await, json!({"password": "third"})).await.ok();
    uaa.login("pamela", "third").await.ok();
    let fields = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", &uaa.admin_password()),
    ];
    let admin = uaa.token_as("weir", "", &fields).await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    put(admin, json!({"password": "fourth"})).await.ok();
    uaa.login("pamela", "fourth").await.ok();
    // A wrong old password counts as a failed login, so that it cannot be guessed here.
    let token = uaa.login("pamela", "fourth").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..5 {
        put(token.clone(), json!({"oldPassword": "wrong", "password": "x"}))
            .await
            .refused(401, "unauthorized");
    }
    let locked = put(token, json!({"oldPassword": "fourth", "password": "x"}))
        .await
        .refused(401, "unauthorized");
    assert!(locked["error_description"].as_str().unwrap().contains("locked"));
}

/// The Cloud Controller's look-up of names by ids works with a token that may read nothing else.
pub async fn names_for_ids(uaa: &Uaa) {
    let (one, two) = (uaa.add_user("ida", "pw").await, uaa.add_user("ines", "pw").await);
    let root = uaa.root().await;
    let body = json!({"active": false});
    uaa.client
        .patch(&format!("/Users/{two}"))
        .bearer(&root)
        .header("if-match", "*")
        .json(&body)
        .send()
        .await
        .ok();
    let token = uaa.client_token("cloud_controller_username_lookup").await;
    let ask = |fields: Vec<(&'static str, String)>| {
        let token = token.clone();
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            uaa.client
                .get(&format!("/ids/Users?{}", query(&fields)))
                .bearer(&token)
                .send()
                .await
        }
    };
    let both = format!("id eq \"{one}\" or id eq \"{two}\"");
    let found = ask(vec![("filter", both.clone())]).await.ok();
    assert_eq!(
        found["resources"],
        json!([{"id": one, "userName": "ida", "origin": "uaa"}])
    );
    let found = ask(vec![
        ("filter", both),
        ("includeInactive", "true".to_owned()),
        ("count", "200".to_owned()),
    ])
    .await
    .ok();
    assert_eq!(found["totalResults"], 2);
    let found = ask(vec![("filter", "username eq \"IDA\" and origin eq \"uaa\"".to_owned())])
        .await
        .ok();
    assert_eq!(found["totalResults"], 1);
    let hundreds: Vec<String> = (0..500).map(|number| format!("id eq \"{number}\"")).collect();
    assert_eq!(
        ask(vec![("filter", hundreds.join(" or "))]).await.ok()["totalResults"],
        0
    );
    for bad in [
        "userName co \"i\"",
        "userName sw \"i\"",
        "id pr",
        "email eq \"x\"",
        "not (id eq \"x\")",
    ] {
        assert_eq!(ask(vec![("filter", bad.to_owned())]).await.status, 400, "{bad}");
    }
    assert_eq!(ask(vec![]).await.status, 400);
    let own = uaa.client_token("doppler").await;
    uaa.client
        .get("/ids/Users?filter=id+pr")
        .bearer(&own)
        .send()
        .await
        .refused(403, "insufficient_scope");
}

/// Responses with a user or a group have its version in `ETag`, for `If-Match`.
pub async fn versions_as_tags(uaa: &Uaa) {
    let root = uaa.root().await;
    let user = json!({"userName": "etta", "emails": [{"value": "etta@example.com"}]});
    let group = json!({"displayName": "tags.etta"});
    for (path, body) in [("/Users", user), ("/Groups", group)] {
        let made = uaa.client.post(path).bearer(&root).json(&body).send().await;
        let id = made.expect(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("etag"), "\"0\"", "{path}");
        let one = format!("{path}/{id}");
        let got = uaa.client.get(&one).bearer(&root).send().await;
        got.ok();
        assert_eq!(got.header("etag"), "\"0\"", "{path}");
        let tag = got.header("etag").to_owned();
        let put = uaa
            .client
            .put(&one)
            .bearer(&root)
            .header("if-match", &tag)
            .json(&body)
            .send()
            .await;
        put.ok();
        assert_eq!(put.header("etag"), "\"1\"", "{path}");
        let again = uaa
            .client
            .put(&one)
            .bearer(&root)
            .header("if-match", &tag)
            .json(&body)
            .send()
            .await;
        assert_eq!(again.status, 412, "{path}");
        let patch = uaa
            .client
            .patch(&one)
            .bearer(&root)
            .header("if-match", "\"1\"")
            .json(&json!({}))
            .send()
            .await;
        patch.ok();
        assert_eq!(patch.header("etag"), "\"2\"", "{path}");
    }
}

/// A change of some attributes of a user keeps the others.
pub async fn partial_changes_keep_the_rest(uaa: &Uaa) {
    let root = uaa.root().await;
    let new = json!({
        "userName": "waltraud", "password": "pw", "externalId": "w-1",
        "name": {"familyName": "W", "givenName": "Waltraud", "formatted": "Waltraud W"},
        "emails": [{"value": "w@example.com", "primary": true, "type": "work"}],
        "phoneNumbers": [{"value": "1"}], "verified": true,
    });
    let made = uaa
        .client
        .post("/Users")
        .bearer(&root)
        .json(&new)
        .send()
        .await
        .expect(201);
    assert_eq!(made["emails"], new["emails"]);
    let path = format!("/Users/{}", made["id"].as_str().unwrap());
    let patch = |body: Value| {
        let (path, root) = (path.clone(), root.clone());
        async move {
            let request = uaa.client.patch(&path).bearer(&root).header("if-match", "*");
            request.json(&body).send().await
        }
    };
    let mut before = made;
    for (name, written, now) in [
        (
            "name",
            json!({"familyName": "X"}),
            json!({"familyName": "X", "givenName": "Waltraud"}),
        ),
        (
            "emails",
            json!([{"value": "x@example.com"}]),
            json!([
                {"value": "w@example.com", "primary": true, "type": "work"},
                {"value": "x@example.com", "primary": false}
            ]),
        ),
        (
            "phoneNumbers",
            json!([{"value": "2"}]),
            json!([{"value": "2"}, {"value": "1"}]),
        ),
        ("externalId", json!("w-2"), json!("w-2")),
        ("userName", json!("waltraud2"), json!("waltraud2")),
        ("verified", json!(false), json!(false)),
        ("active", json!(false), json!(false)),
    ] {
        let after = patch(json!({ name: written })).await.ok();
        assert_eq!(after[name], now);
        for (member, there) in before.as_object().unwrap() {
            assert!(
                member == name || member == "meta" || after[member] == *there,
                "{name}: {member} {after}"
            );
        }
        before = after;
    }
    let primary = patch(json!({"emails": [{"value": "x@example.com", "primary": true}]}))
        .await
        .ok();
    assert_eq!(
        primary["emails"],
        json!([
            {"value": "w@example.com", "primary": false, "type": "work"},
            {"value": "x@example.com", "primary": true}
        ])
    );
    // A user that is written back as read does not change: uaac writes read-only attributes in another letter case, and
    // uaa-cli has the version only in the body.
    let mut whole = uaa.client.get(&path).bearer(&root).send().await.ok();
    for name in ["zoneId", "passwordLastModified"] {
        let value = whole.as_object_mut().unwrap().remove(name).unwrap();
        whole[name.to_lowercase()] = value;
    }
    let mut after = uaa.client.put(&path).bearer(&root).json(&whole).send().await.ok();
    for name in ["zoneId", "passwordLastModified"] {
        let value = after.as_object_mut().unwrap().remove(name).unwrap();
        after[name.to_lowercase()] = value;
    }
    after["meta"] = whole["meta"].clone();
    assert_eq!(after, whole);
    assert_eq!(
        uaa.client.put(&path).bearer(&root).json(&whole).send().await.status,
        412,
        "of an old version"
    );
    let request = uaa.client.delete(&path).bearer(&root).header("if-match", "0");
    request.send().await.refused(412, "scim_resource_version_conflict");
    uaa.client.delete(&path).bearer(&root).send().await.ok();
}

/// An unsupported attribute of a user is refused, not ignored.
pub async fn unsupported_values_are_refused(uaa: &Uaa) {
    let root = uaa.root().await;
    let id = uaa.add_user("stefan", "pw").await;
    let path = format!("/Users/{id}");
    let send = |method: &'static str, path: String, body: Value| {
        let root = root.clone();
        async move {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let request = uaa.client.request(method, &path).bearer(&root).header("if-match", "*");
            request.json(&body).send().await
        }
    };
    for bad in [
        json!({"title": "Dr."}),
        json!({"displayName": "Stefan"}),
        json!({"username": "stefan2"}),
        json!({"name": {"middleName": "X"}}),
        json!({"phoneNumbers": [{"value": "1", "type": "work"}]}),
        json!({"password": "another"}),
        json!({"groups": [{"value": "nothing"}]}),
    ] {
        for method in ["PATCH", "PUT"] {
            let answer = send(method, path.clone(), bad.clone()).await;
            let said = answer.refused(400, "invalid_scim_resource");
            assert!(
                !said["error_description"].as_str().unwrap().contains("readable"),
                "{bad}: {said}"
            );
        }
    }
    for attribute in ["userName", "emails", "colour"] {
        let body = json!({"meta": {"attributes": [attribute]}});
        send("PATCH", path.clone(), body)
            .await
            .refused(400, "invalid_scim_resource");
    }
    for (name, value) in [
        ("origin", json!("ldap")),
        ("groups", json!([{"value": "some-group"}])),
        ("locale", json!("de")),
    ] {
        let mut body = json!({"userName": "stefanie", "password": "pw", "emails": [{"value": "s@example.com"}]});
        body[name] = value;
        send("POST", "/Users".to_owned(), body)
            .await
            .refused(400, "invalid_scim_resource");
    }
    let status = json!({"passwordChangeRequired": true});
    send("PATCH", format!("{path}/status"), status)
        .await
        .refused(400, "invalid_scim_resource");
    send("GET", "/Users?sortOrder=upwards".to_owned(), json!({}))
        .await
        .refused(400, "invalid_scim_resource");
    let shown = uaa.client.get(&path).bearer(&root).send().await.ok();
    assert_eq!(
        (&shown["userName"], &shown["meta"]["version"]),
        (&"stefan".into(), &0.into())
    );
    uaa.login("stefan", "pw").await.ok();
}
