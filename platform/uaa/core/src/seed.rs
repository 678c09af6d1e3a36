//! Creates the groups, clients and administrator of a new installation.
//!
//! Every start creates the groups and clients that are absent, because a newer program may need more of them. Existing ones are
//! not changed. The administrator is created only once, so that an operator can remove that user.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_config::Secret;
use weir_service::clock;

use crate::hashing::Hasher;
use crate::login::UAA_ORIGIN;
use crate::{Config, Error};

mod catalogue;
mod clients;

use catalogue::{ADMIN_GROUPS, DEFAULT_GROUPS, OTHER_GROUPS};
use weir_platform_uaa_store::private_file::{self, FileError};
use weir_platform_uaa_store::secrets::{self, MasterKey};
use weir_platform_uaa_store::{Email, FirstStartState, Group, Member, MemberKind, Store, User};

/// The time after which another node takes over the first start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The administrator whom the first start created.
#[derive(Debug, Clone)]
pub struct FirstStart {
    /// The administrator's name.
    pub user: String,
    /// The administrator's password, which is also in the file `admin_password_file`.
    pub password: Secret<String>,
}

/// Creates what is absent. Returns the ids of the default groups by name, and the administrator if this start created
/// that user.
pub async fn seed(
    store: &Store,
    hasher: &Hasher,
    master: &MasterKey,
    config: &Config,
) -> Result<(BTreeMap<String, String>, Option<FirstStart>), Error> {
    let node = secrets::random_hex::<8>();
    let first = first_start(store, &node).await?;
    let mut defaults = BTreeMap::new();
    for name in DEFAULT_GROUPS {
        defaults.insert(name.to_owned(), group(store, name).await?);
    }
    for name in OTHER_GROUPS {
        group(store, name).await?;
    }
    let mut admin_groups = Vec::new();
    for name in ADMIN_GROUPS {
        admin_groups.push(group(store, name).await?);
    }
    clients::seed(store, hasher, master, config).await?;
    let made = if first {
        let made = administrator(store, hasher, config, &admin_groups).await?;
        store.first_start_is_done().await?;
        Some(made)
    } else {
        None
    };
    Ok((defaults, made))
}

/// Whether this node does the first start of the installation. Other nodes wait until it is done. If the node that does it is
/// killed, another one takes over.
async fn first_start(store: &Store, node: &str) -> Result<bool, Error> {
    let (mut deadline, mut at_it) = (clock::instant() + PATIENCE, String::new());
    loop {
        match store.take_first_start(node).await? {
            FirstStartState::Ours => return Ok(true),
            FirstStartState::Done => return Ok(false),
            // Another node has taken it over, and gets the whole time.
            FirstStartState::UnderWay(other) if other != at_it => {
                (deadline, at_it) = (clock::instant() + PATIENCE, other);
            }
            FirstStartState::UnderWay(other) if clock::instant() > deadline => {
                if store.take_over_first_start(node, &other).await? {
                    return Ok(true);
                }
            }
            FirstStartState::UnderWay(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Returns the id of the group with this name, and creates the group if it is absent.
async fn group(store: &Store, name: &str) -> Result<String, Error> {
    if let Some(group) = store.group_by_name(name).await? {
        return Ok(group.id);
    }
    let now = store.now();
    let group = Group {
        id: uuid::Uuid::new_v4().to_string(),
        display_name: name.to_owned(),
        description: None,
        created_at: now,
        modified_at: now,
        version: 0,
    };
    match store.add_group(&group, &[]).await {
        Ok(()) => Ok(group.id),
        // Another node was faster, or a group exists whose name differs in case only.
        Err(weir_db::DbError::Duplicate(_)) => {
            let other = store.group_like(name).await?;
            if let Some(other) = other.as_ref().filter(|other| other.display_name != name) {
                tracing::warn!(
                    wanted = name,
                    group = other.display_name,
                    "a group stands in the place of one that the platform needs: rename it"
                );
            }
            Ok(other.map_or(group.id, |other| other.id))
        }
        Err(error) => Err(error.into()),
    }
}

/// Creates the administrator and adds them to `groups`.
async fn administrator(
    store: &Store,
    hasher: &Hasher,
    config: &Config,
    groups: &[String],
) -> Result<FirstStart, Error> {
    let path = &config.admin_password_file;
    let password = private_file::read_or_create(path, || format!("{}\n", secrets::random_readable::<24>()))?;
    let password = password.trim().to_owned();
    if password.is_empty() {
        return Err(FileError::Content {
            path: path.clone(),
            wanted: "password",
        }
        .into());
    }
    let now = store.now();
    let name = &config.admin_user;
    let mut user = User {
        id: uuid::Uuid::new_v4().to_string(),
        origin: UAA_ORIGIN.to_owned(),
        user_name: name.clone(),
        external_id: None,
        given_name: None,
        family_name: None,
        emails: vec![Email {
            value: name.clone(),
            primary: true,
            kind: None,
        }],
        phones: Vec::new(),
        active: true,
        verified: true,
        password_hash: Some(hasher.hash(&password).await.map_err(|_| Error::Hashing)?),
        password_changed_at: Some(now),
        created_at: now,
        modified_at: now,
        version: 0,
        last_logon: None,
        previous_logon: None,
        as_of: 0,
    };
    // A first start that was interrupted may have created the user already.
    match store.user_by_name(UAA_ORIGIN, name).await? {
        Some(present) => user = present,
        None => store.add_user(&user).await?,
    }
    for group in groups {
        let member = Member {
            id: user.id.clone(),
            kind: MemberKind::User,
            origin: UAA_ORIGIN.to_owned(),
        };
        store.add_member(group, &member).await?;
    }
    tracing::info!(user = user.id, "the administrator was made");
    Ok(FirstStart {
        user: user.user_name,
        password: Secret::new(password),
    })
}
