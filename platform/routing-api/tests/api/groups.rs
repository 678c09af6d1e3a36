//! Router groups.

use http::Method;
use serde_json::{Value, json};

use crate::common::{Answer, Api, Deployment};

fn process(answer: &Answer, reason: &str) {
    answer.refused(400, "ProcessRequestError", &format!("Cannot process request: {reason}"));
}

/// Groups are made, found by name, changed and removed, with the original's answers.
pub(crate) async fn a_group_lives(api: &Api) {
    let groups = api.get("/router_groups").await.json();
    let guid = groups[0]["guid"].clone();
    assert_eq!(guid.as_str().unwrap().len(), 36);
    let default = json!({"guid": guid, "name": "default-tcp", "type": "tcp", "reservable_ports": "1024-1033"});
    assert_eq!(groups, json!([default]));

    let wanted = json!({"guid": "mine", "name": "web", "type": "http", "reservable_ports": ""});
    let made = api.post("/router_groups", &wanted).await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.json();
    assert_ne!(made["guid"], "mine");
    // A group of this name and type is there: it is shown.
    let again = api.post("/router_groups", &wanted).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, made.clone()));
    // The name is taken by a group of another type.
    let other = json!({"name": "web", "type": "tcp", "reservable_ports": "2000"});
    api.post("/router_groups", &other)
        .await
        .refused(409, "DBConflictError", "row exists already");

    assert_eq!(api.get("/router_groups?name=web").await.json(), json!([made]));
    let unknown = api.get("/router_groups?name=a%20b").await;
    unknown.refused(404, "ResourceNotFoundError", "router group 'a b' not found");

    let path = format!("/router_groups/{}", guid.as_str().unwrap());
    // Only the ports of a group change.
    let change = json!({"name": "x", "type": "y", "reservable_ports": "6000-8000"});
    let changed = api.call(Method::PUT, &path, &change).await;
    let warning = changed.headers["x-cf-warnings"].to_str().unwrap();
    assert!(
        warning.starts_with("Warning%3A+if+routes+are+registered+for+ports"),
        "{warning}"
    );
    let expected = json!({"guid": guid, "name": "default-tcp", "type": "tcp", "reservable_ports": "6000-8000"});
    assert_eq!(changed.json(), expected);
    assert_eq!(api.get("/router_groups").await.json(), json!([expected, made]));
    let missing = api.call(Method::PUT, "/router_groups/none", &change).await;
    missing.refused(404, "ResourceNotFoundError", "router group 'none' does not exist");

    api.call(Method::DELETE, &path, &Value::Null).await.done(204);
    api.call(Method::DELETE, &path, &Value::Null).await.done(404);
    assert_eq!(api.get("/router_groups").await.json(), json!([made]));
}

/// What is wrong with a group is said in the original's words.
pub(crate) async fn groups_are_checked(api: &Api) {
    let post = async |name: &str, kind: &str, ports: &str| {
        let group = json!({"name": name, "type": kind, "reservable_ports": ports});
        api.post("/router_groups", &group).await
    };
    for (name, kind, ports, reason) in [
        ("", "tcp", "2000", "missing name in router group"),
        ("a", "", "2000", "missing type in router group"),
        ("a", "tcp", "", "missing reservable_ports in router group: a"),
        (
            "a",
            "http",
            "2000",
            "reservable ports are not supported for router groups of type http",
        ),
        ("a", "tcp", "80", "port must be between 1024 and 65535"),
        ("a", "tcp", "2000-3000,2500", "Overlapping values: [2000-3000] and 2500"),
    ] {
        process(&post(name, kind, ports).await, reason);
    }
    let path = format!("/router_groups/{}", api.default_group().await);
    let change = json!({"reservable_ports": ""});
    process(
        &api.call(Method::PUT, &path, &change).await,
        "missing reservable_ports in router group: default-tcp",
    );
    // The same ports are no change, and not looked at.
    let same = json!({"reservable_ports": "1024-1033"});
    assert_eq!(api.call(Method::PUT, &path, &same).await.status.as_u16(), 200);
}

/// No group has ports of the system's own components.
#[tokio::test]
async fn reserved_ports_are_nobodys() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment
        .start_with(|raw| raw.reserved_system_component_ports = vec![2822, 3457])
        .await;
    let group = json!({"name": "a", "type": "tcp", "reservable_ports": "3000-4000"});
    process(
        &api.post("/router_groups", &group).await,
        "Invalid ports. Reservable ports must not include the following reserved system component ports: [2822 3457].",
    );
    api.stop().await;
}

/// The groups of the first start are made once: what was removed does not come back with the next start, as long as there is a
/// group.
#[tokio::test]
async fn groups_are_made_once() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start().await;
    let group = json!({"name": "other", "type": "tcp", "reservable_ports": "3000"});
    let other = api.post("/router_groups", &group).await.json();
    let path = format!("/router_groups/{}", api.default_group().await);
    api.call(Method::DELETE, &path, &Value::Null).await.done(204);
    api.stop().await;
    let api = deployment.start().await;
    assert_eq!(api.get("/router_groups").await.json(), json!([other]));
    api.stop().await;
}

/// A database that a routing API of the original has used keeps its groups and their guids, which cloud controllers know.
pub(crate) async fn groups_of_the_original_stay(deployment: &Deployment) {
    let db = weir_db::Database::open(&deployment.database).await.unwrap();
    for statement in [
        "create table router_groups (guid varchar(255) primary key, created_at timestamp null, \
             updated_at timestamp null, name varchar(255), type varchar(255), reservable_ports varchar(255))",
        "insert into router_groups values ('a-guid', null, null, 'default-tcp', 'tcp', '1024-2000')",
        "insert into router_groups values ('b-guid', null, null, 'default-http', 'http', null)",
    ] {
        db.execute(weir_db::sql(statement)).await.unwrap();
    }
    db.close().await;
    let api = deployment.start().await;
    let mut groups = api.get("/router_groups").await.json();
    groups
        .as_array_mut()
        .unwrap()
        .sort_by_key(|group| group["guid"].to_string());
    let expected = json!([
        {"guid": "a-guid", "name": "default-tcp", "type": "tcp", "reservable_ports": "1024-2000"},
        {"guid": "b-guid", "name": "default-http", "type": "http", "reservable_ports": ""},
    ]);
    assert_eq!(groups, expected);
    api.stop().await;
}
