//! Groups, as the cf CLI and uaac use them.

use serde_json::{Value, json};
use weir_error::{Classify as _, ErrorKind};
use weir_uaa_client::Uaa as Remote;

use crate::common::Uaa;
use crate::scim::find;

/// A group is created, found, changed and deleted; its members come and go.
pub async fn groups(uaa: &Uaa) {
    let root = uaa.root().await;
    let user = uaa.add_user("gerda", "pw").await;
    let new = json!({"displayName": "my.scope", "description": "for tests", "members": [{"value": user}]});
    let post = |body: Value| {
        let root = root.clone();
        async move { uaa.client.post("/Groups").bearer(&root).json(&body).send().await }
    };
    let made = post(new.clone()).await.expect(201);
    assert_eq!(
        (&made["displayName"], &made["description"]),
        (&"my.scope".into(), &"for tests".into())
    );
    assert_eq!(
        made["members"],
        json!([{"origin": "uaa", "type": "USER", "value": user}])
    );
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/Groups/{id}");
    post(json!({"displayName": "MY.scope"}))
        .await
        .refused(409, "scim_resource_already_exists");
    for bad in [
        json!({}),
        json!({"displayName": ""}),
        json!({"displayName": "a b"}),
        json!({"displayName": "a\"b"}),
        json!({"displayName": "fine", "members": [{"value": "nobody"}]}),
        json!({"displayName": "fine", "members": [{"value": user, "type": "ROBOT"}]}),
    ] {
        post(bad).await.refused(400, "invalid_scim_resource");
    }
    let found = find(uaa, &root, "/Groups", "displayName eq \"My.Scope\"").await.ok();
    assert_eq!(found["resources"][0]["id"], id.as_str());
    assert_eq!(uaa.client.get(&path).bearer(&root).send().await.ok()["id"], id.as_str());
    let members = format!("{path}/members");
    let listed = uaa
        .client
        .get(&format!("{members}?returnEntities=true"))
        .bearer(&root)
        .send()
        .await
        .ok();
    assert_eq!(listed[0]["entity"]["userName"], "gerda");
    let again = json!({"value": user, "type": "USER", "origin": "uaa"});
    assert_eq!(
        uaa.client.post(&members).bearer(&root).json(&again).send().await.status,
        409
    );
    let one = format!("{members}/{user}");
    uaa.client.get(&one).bearer(&root).send().await.ok();
    uaa.client.delete(&one).bearer(&root).send().await.ok();
    uaa.client
        .delete(&one)
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");
    assert_eq!(
        uaa.client
            .post(&members)
            .bearer(&root)
            .json(&again)
            .send()
            .await
            .expect(201),
        again
    );
    // Each change of members makes a new version, so that a write of an older version is refused.
    let put = json!({"displayName": "my.scope", "members": []});
    for version in ["0", "1"] {
        let request = uaa.client.put(&path).bearer(&root).header("if-match", version);
        assert_eq!(request.json(&put).send().await.status, 412);
        let request = uaa.client.patch(&path).bearer(&root).header("if-match", version);
        assert_eq!(request.json(&put).send().await.status, 412);
    }
    // PUT replaces all members, PATCH some.
    let written = uaa
        .client
        .put(&path)
        .bearer(&root)
        .header("if-match", "2")
        .json(&put)
        .send()
        .await
        .ok();
    assert_eq!(
        (&written["members"], &written["meta"]["version"]),
        (&json!([]), &3.into())
    );
    assert_eq!(
        uaa.client
            .put(&path)
            .bearer(&root)
            .header("if-match", "2")
            .json(&put)
            .send()
            .await
            .status,
        412
    );
    let patch = json!({"members": [{"value": user}]});
    let patched = uaa
        .client
        .patch(&path)
        .bearer(&root)
        .header("if-match", "3")
        .json(&patch)
        .send()
        .await
        .ok();
    assert_eq!(patched["members"].as_array().unwrap().len(), 1);
    let patch = json!({"members": [{"value": user, "operation": "delete"}], "description": "other"});
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
        (&patched["members"], &patched["description"]),
        (&json!([]), &"other".into())
    );
    uaa.client.delete(&path).bearer(&root).send().await.ok();
    uaa.client
        .get(&path)
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");
    let found = find(uaa, &root, "/Groups", "displayName eq \"openid\"").await.ok();
    let openid = format!("/Groups/{}", found["resources"][0]["id"].as_str().unwrap());
    uaa.client
        .delete(&openid)
        .bearer(&root)
        .send()
        .await
        .refused(400, "invalid_scim_resource");
    // A group cannot be renamed, by PUT or PATCH; its description can be changed.
    for (method, name, status) in [
        ("PUT", "closedid", 400),
        ("PATCH", "OpenID", 400),
        ("PATCH", "openid", 200),
        ("PUT", "openid", 200),
    ] {
        let body = json!({"displayName": name, "description": "Know who you are"});
        let request = uaa.client.request(method.parse().unwrap(), &openid).bearer(&root);
        request.header("if-match", "*").json(&body).send().await.expect(status);
    }
    // A group of the platform that was renamed, when that was possible, can only get its old name back.
    uaa.sql("update uaa_groups set display_name = 'OpenID' where display_name = 'openid'")
        .await;
    for (name, status) in [("closedid", 400), ("openid", 200)] {
        let request = uaa.client.patch(&openid).bearer(&root).header("if-match", "*");
        let body = json!({ "displayName": name });
        request.json(&body).send().await.expect(status);
    }
    // Two operators create one group at the same moment.
    uaa.add_user("gustav", "pw").await;
    let remote = Remote::new(&uaa.url, Some(&uaa.ca)).unwrap();
    let tokens = remote.client_credentials("admin", &uaa.secret("admin")).await.unwrap();
    let operator = remote.with_token(&tokens.access_token);
    let (one, two) = tokio::join!(
        operator.ensure_member("made.by.two", "gerda"),
        operator.ensure_member("made.by.two", "gustav")
    );
    one.and(two).unwrap();
    let token = uaa.login("gerda", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    uaa.client
        .post("/Groups")
        .bearer(&token)
        .json(&new)
        .send()
        .await
        .refused(403, "insufficient_scope");
}

/// Members of a nested group have the scopes of the outer groups. A cycle of groups is refused.
pub async fn nested_groups(uaa: &Uaa) {
    let root = uaa.root().await;
    let user = uaa.add_user("nina", "pw").await;
    let post = |body: Value| {
        let root = root.clone();
        async move {
            let made = uaa
                .client
                .post("/Groups")
                .bearer(&root)
                .json(&body)
                .send()
                .await
                .expect(201);
            made["id"].as_str().unwrap().to_owned()
        }
    };
    let inner = post(json!({"displayName": "team.inner", "members": [{"value": user}]})).await;
    let middle = post(json!({"displayName": "team.middle", "members": [{"value": inner, "type": "GROUP"}]})).await;
    let outer = post(json!({"displayName": "logs.read.nested", "members": [{"value": middle, "type": "GROUP"}]})).await;
    let body = uaa.login("nina", "pw").await.ok();
    assert_eq!(uaa.reads(body["access_token"].as_str().unwrap()).await, ["nested"]);
    let shown = uaa
        .client
        .get(&format!("/Users/{user}"))
        .bearer(&root)
        .send()
        .await
        .ok();
    let kind = |name: &str| {
        let groups = shown["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["display"] == name).unwrap();
        group["type"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (kind("team.inner").as_str(), kind("logs.read.nested").as_str()),
        ("DIRECT", "INDIRECT")
    );
    for (group, member) in [(&inner, &outer), (&inner, &inner), (&middle, &outer)] {
        let body = json!({"value": member, "type": "GROUP"});
        let path = format!("/Groups/{group}/members");
        uaa.client
            .post(&path)
            .bearer(&root)
            .json(&body)
            .send()
            .await
            .refused(400, "invalid_scim_resource");
    }
    let token = uaa.login("nina", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/Groups/{outer}/members/{middle}");
    uaa.client.delete(&path).bearer(&root).send().await.ok();
    uaa.check(&token).await.refused(400, "invalid_token");
    let body = uaa.login("nina", "pw").await.ok();
    assert!(uaa.reads(body["access_token"].as_str().unwrap()).await.is_empty());
}

/// The name of a group for a source's logs is compared exactly; all other group names must differ by more than letter case.
pub async fn names_are_compared_exactly(uaa: &Uaa) {
    let root = uaa.root().await;
    let make = |name: &'static str| {
        let root = root.clone();
        async move {
            let body = json!({ "displayName": name });
            uaa.client.post("/Groups").bearer(&root).json(&body).send().await
        }
    };
    let theirs = make("logs.read.Letter").await.expect(201)["id"].clone();
    let ours = make("logs.read.letter").await.expect(201)["id"].clone();
    make("logs.read.letter")
        .await
        .refused(409, "scim_resource_already_exists");
    for (name, id) in [("logs.read.Letter", &theirs), ("logs.read.letter", &ours)] {
        let found = find(uaa, &root, "/Groups", &format!("displayName eq \"{name}\""))
            .await
            .ok();
        assert_eq!((&found["totalResults"], &found["resources"][0]["id"]), (&1.into(), id));
    }
    let found = find(uaa, &root, "/Groups", "displayName eq \"logs.read.LETTER\"")
        .await
        .ok();
    assert_eq!(found["totalResults"], 0);
    let found = find(uaa, &root, "/Groups", "displayName co \"READ.letter\"").await.ok();
    assert_eq!(found["totalResults"], 2, "`co` ignores letter case");
    make("letter.Other").await.expect(201);
    make("letter.other").await.refused(409, "scim_resource_already_exists");
    let found = find(uaa, &root, "/Groups", "displayName eq \"LETTER.OTHER\"")
        .await
        .ok();
    assert_eq!(found["totalResults"], 1);
    // A rename to the name of another group is refused.
    let put = json!({"displayName": "logs.read.Letter", "members": []});
    let path = format!("/Groups/{}", ours.as_str().unwrap());
    let answer = uaa
        .client
        .put(&path)
        .bearer(&root)
        .header("if-match", "*")
        .json(&put)
        .send()
        .await;
    answer.refused(409, "scim_resource_already_exists");

    // The client library takes the group with exactly this name, or reports the similar ones.
    let user = uaa.add_user("levi", "pw").await;
    let remote = Remote::new(&uaa.url, Some(&uaa.ca)).unwrap();
    let tokens = remote.log_in("weir", "", "admin", &uaa.admin_password()).await.unwrap();
    let admin = remote.with_token(&tokens.access_token);
    admin.add_member("logs.read.letter", "levi").await.unwrap();
    admin.ensure_member("logs.read.LETTER", "levi").await.unwrap();
    let body = uaa.login("levi", "pw").await.ok();
    assert_eq!(
        uaa.reads(body["access_token"].as_str().unwrap()).await,
        ["LETTER", "letter"]
    );
    let missing = admin.add_member("LETTER.other", "levi").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.hint().unwrap().contains("letter.Other"), "{missing}");
    let shown = uaa
        .client
        .get(&format!("/Users/{user}"))
        .bearer(&root)
        .send()
        .await
        .ok();
    assert!(!shown.to_string().contains("letter.Other"), "{shown}");
}

/// A change of some attributes of a group keeps the others; unsupported changes are refused.
pub async fn partial_changes_keep_the_rest(uaa: &Uaa) {
    let root = uaa.root().await;
    let (one, two) = (uaa.add_user("grita", "pw").await, uaa.add_user("greg", "pw").await);
    let new = json!({"displayName": "whole.group", "description": "whole", "members": [{"value": one}]});
    let made = uaa
        .client
        .post("/Groups")
        .bearer(&root)
        .json(&new)
        .send()
        .await
        .expect(201);
    let path = format!("/Groups/{}", made["id"].as_str().unwrap());
    let patch = |body: Value| {
        let (path, root) = (path.clone(), root.clone());
        async move {
            let request = uaa.client.patch(&path).bearer(&root).header("if-match", "*");
            request.json(&body).send().await
        }
    };
    let added = patch(json!({"members": [{"value": two, "type": "USER"}]})).await.ok();
    assert_eq!(
        (&added["description"], &added["displayName"]),
        (&"whole".into(), &"whole.group".into())
    );
    assert_eq!(added["members"].as_array().unwrap().len(), 2);
    // A member's origin becomes the provider's if the request has it, and is kept if the request has none.
    let theirs = patch(json!({"members": [{"value": two, "origin": "other"}]}))
        .await
        .ok();
    assert!(theirs["members"].to_string().contains("other"), "{theirs}");
    let again = patch(json!({"members": [{"value": two}, {"value": one}]})).await.ok();
    assert_eq!(again["members"].as_array().unwrap().len(), 2);
    assert!(again["members"].to_string().contains("other"), "{again}");
    let described = patch(json!({"description": "new"})).await.ok();
    assert_eq!(described["members"], theirs["members"]);
    let gone = patch(json!({"members": [{"value": two, "operation": "delete"}]}))
        .await
        .ok();
    assert_eq!(
        gone["members"],
        json!([{"origin": "uaa", "type": "USER", "value": one}])
    );
    for bad in [
        json!({"members": [{"value": one, "operation": "remove"}]}),
        json!({"meta": {"attributes": ["displayName"]}}),
        json!({"meta": {"attributes": ["colour"]}}),
        json!({"colour": "red"}),
    ] {
        patch(bad).await.refused(400, "invalid_scim_resource");
    }
    // As uaac and uaa-cli write a group back: all attributes as they were read; the version in the body is checked.
    let mut whole = uaa.client.get(&path).bearer(&root).send().await.ok();
    whole["zoneid"] = "uaa".into();
    let stale = json!({"version": 0});
    let mut old = whole.clone();
    old["meta"] = stale;
    assert_eq!(uaa.client.put(&path).bearer(&root).json(&old).send().await.status, 412);
    let written = uaa.client.put(&path).bearer(&root).json(&whole).send().await.ok();
    assert_eq!(
        (&written["members"], &written["description"]),
        (&whole["members"], &"new".into())
    );
    // A deletion of an older version is refused.
    let request = uaa.client.delete(&path).bearer(&root).header("if-match", "0");
    request.send().await.refused(412, "scim_resource_version_conflict");
    let some = uaa
        .client
        .get(&format!("{path}?attributes=displayName"))
        .bearer(&root)
        .send()
        .await
        .ok();
    assert_eq!(some, json!({"displayName": "whole.group"}));
    uaa.client
        .get(&format!("{path}/members?filter=x"))
        .bearer(&root)
        .send()
        .await
        .refused(400, "invalid_scim_resource");
    uaa.client
        .delete(&path)
        .bearer(&root)
        .header("if-match", "*")
        .send()
        .await
        .ok();
    // `/Groups/External` of the original does not exist here, and is not taken for the id of a group.
    let mapped = uaa
        .client
        .post("/Groups/External")
        .bearer(&root)
        .json(&json!({"groupId": "x"}))
        .send()
        .await;
    let said = mapped.refused(404, "not_found");
    assert!(
        said["error_description"].as_str().unwrap().contains("`providers`"),
        "{said}"
    );
}
