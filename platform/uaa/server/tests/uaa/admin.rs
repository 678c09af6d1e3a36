//! `weir-uaa-client`, the library of `weir login`, `weir user`, `weir group` and `weir client`.

use weir_config::Secret;
use weir_error::{Classify as _, ErrorKind};
use weir_uaa_client::{AdminError, NewClient, NewUser, Uaa as Remote};

use crate::common::Uaa;

/// Each operation of the commands works, and each refusal has its kind.
pub async fn library(uaa: &Uaa) {
    let remote = Remote::new(&uaa.url, Some(&uaa.ca)).unwrap();
    let tokens = remote.log_in("weir", "", "admin", &uaa.admin_password()).await.unwrap();
    assert!(tokens.scope.contains("uaa.admin") && tokens.expires_in == 1200);
    let again = remote
        .refresh("weir", "", tokens.refresh_token.as_ref().unwrap().expose())
        .await
        .unwrap();
    let admin = remote.with_token(&again.access_token);
    let name = "adele o'neil+x@example.com".replace(' ', ".");
    let user = NewUser {
        user_name: name.clone(),
        password: Some(Secret::new("first".to_owned())),
        ..NewUser::default()
    };
    let made = admin.add_user(&user).await.unwrap();
    assert_eq!(
        (made.user_name.as_str(), made.origin.as_str(), made.active),
        (name.as_str(), "uaa", true)
    );
    let twice = admin.add_user(&user).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Conflict);
    assert!(twice.to_string().contains("already in use"), "{twice}");
    admin.ensure_member("logs.read.adele", &name).await.unwrap();
    admin.ensure_member("logs.read.adele", &name).await.unwrap();
    assert!(
        admin
            .user(&name)
            .await
            .unwrap()
            .groups
            .contains(&"logs.read.adele".to_owned())
    );
    assert!(admin.users().await.unwrap().iter().any(|user| user.user_name == name));
    assert_eq!(admin.group("logs.read.adele").await.unwrap().members[0].value, made.id);
    admin.remove_member("logs.read.adele", &name).await.unwrap();
    admin.remove_group("logs.read.adele").await.unwrap();
    assert_eq!(
        admin.group("logs.read.adele").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(admin.groups().await.unwrap().len() > 20);
    admin
        .set_password(&name, &Secret::new("second".to_owned()))
        .await
        .unwrap();
    let refused = remote.log_in("cf", "", &name, "first").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    assert!(!refused.retryable() && refused.hint().is_some());
    let own = remote.log_in("cf", "", &name, "second").await.unwrap();
    let forbidden = remote.with_token(&own.access_token).users().await.unwrap_err();
    assert_eq!(forbidden.kind(), ErrorKind::Forbidden);
    remote.revoke("cf", "", own.access_token.expose()).await.unwrap();
    uaa.check(own.access_token.expose()).await.refused(400, "invalid_token");

    let client = NewClient {
        client_id: "made.by-library".to_owned(),
        client_secret: Some(Secret::new("s1".to_owned())),
        authorized_grant_types: vec!["client_credentials".to_owned()],
        authorities: vec!["uaa.resource".to_owned()],
        ..NewClient::default()
    };
    assert_eq!(admin.add_client(&client).await.unwrap().authorities, ["uaa.resource"]);
    remote.client_credentials("made.by-library", "s1").await.unwrap();
    remote.client_credentials("made.by-library", "s2").await.unwrap_err();
    assert!(
        admin
            .clients()
            .await
            .unwrap()
            .iter()
            .any(|client| client.client_id == "made.by-library")
    );
    admin.remove_client("made.by-library").await.unwrap();
    let gone = admin.remove_client("made.by-library").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    admin.remove_user(&name).await.unwrap();
    assert!(matches!(admin.user(&name).await, Err(AdminError::Missing { .. })));
    assert!(!format!("{admin:?} {tokens:?}").contains(tokens.access_token.expose()));

    assert!(Remote::new("http://uaa.example", None).is_err());
    let nobody = Remote::new("https://127.0.0.1:1", Some(&uaa.ca)).unwrap();
    let error = nobody.client_credentials("x", "y").await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
}
