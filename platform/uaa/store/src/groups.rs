//! Groups and their members. The name of a group is the scope that it gives.

use std::collections::{BTreeMap, BTreeSet};

use weir_db::{DbError, Executor, Row, Transaction, Value, sql};

use super::locks::lock_user;
use super::{Store, TokenSet, lock_setting, texts};

/// The number of levels of nested groups that count for a user.
const DEEPEST: usize = 10;

/// The number of ids in one query: databases limit the parameters of a statement.
const CHUNK: usize = 500;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The id, which never changes.
    pub id: String,
    /// The name, which is the scope that the group gives.
    pub display_name: String,
    /// The purpose of the group, in words.
    pub description: Option<String>,
    /// The time when the group was created, in milliseconds since 1970.
    pub created_at: i64,
    /// The time when the group was last changed, in milliseconds since 1970.
    pub modified_at: i64,
    /// The number of changes of the group.
    pub version: i64,
}

/// The kind of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A user.
    User,
    /// Another group. Its members are indirect members.
    Group,
}

impl MemberKind {
    /// Returns the kind as SCIM writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Group => "GROUP",
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id of the user or of the group.
    pub id: String,
    /// Whether the member is a user or a group.
    pub kind: MemberKind,
    /// The owner of the membership: `uaa`, or the name of the provider whose groups determine it.
    pub origin: String,
}

/// A group that a user is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The name of the group.
    pub display_name: String,
    /// The id of the group.
    pub id: String,
    /// Whether the user is a direct member of the group.
    pub direct: bool,
}

/// Returns the key of a group's name, which is unique, and by which groups are looked up.
///
/// It ignores case, so that `OpenID` cannot be mistaken for `openid`. Names of log sources keep their case, because source ids
/// are case-sensitive: `logs.read.Web` and `logs.read.web` may belong to two tenants.
pub fn group_key(name: &str) -> String {
    if name.starts_with(crate::scopes::SOURCE) {
        name.to_owned()
    } else {
        name.to_lowercase()
    }
}

const COLUMNS: &str = "id, display_name, description, created_at, modified_at, version";

impl Group {
    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.get("id")?,
            display_name: row.get("display_name")?,
            description: row.get("description")?,
            created_at: row.get("created_at")?,
            modified_at: row.get("modified_at")?,
            version: row.get("version")?,
        })
    }
}

impl Store {
    /// Returns the group with this id.
    pub async fn group(&self, id: &str) -> Result<Option<Group>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_groups where id = ?")).bind(id);
        self.db.first(query).await?.as_ref().map(Group::read).transpose()
    }

    /// Returns the group with exactly this name. Case counts, because the name is a scope.
    pub async fn group_by_name(&self, name: &str) -> Result<Option<Group>, DbError> {
        let found = self.group_like(name).await?;
        Ok(found.filter(|group| group.display_name == name))
    }

    /// Returns the group whose key is that of `name`. No further group can have this name.
    pub async fn group_like(&self, name: &str) -> Result<Option<Group>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_groups where display_key = ?")).bind(group_key(name));
        self.db.first(query).await?.as_ref().map(Group::read).transpose()
    }

    /// Returns a page of the groups that meet a condition of the filter parser, and the number of all that meet it.
    pub async fn groups(
        &self,
        condition: &str,
        values: Vec<Value>,
        order: &str,
        start: i64,
        count: i64,
    ) -> Result<(Vec<Group>, i64), DbError> {
        let total = sql(format!("select count(*) as n from uaa_groups where {condition}")).bind_all(values.clone());
        let total = self.db.first(total).await?.map_or(Ok(0), |row| row.get("n"))?;
        let page = sql(format!(
            "select {COLUMNS} from uaa_groups where {condition} order by {order}, id limit ? offset ?"
        ));
        let rows = self.db.all(page.bind_all(values).bind(count).bind(start)).await?;
        Ok((rows.iter().map(Group::read).collect::<Result<_, _>>()?, total))
    }

    /// Adds a group with its members. Fails with [`DbError::Duplicate`] if the name is in use.
    pub async fn add_group(&self, group: &Group, members: &[Member]) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        let insert = sql(
            "insert into uaa_groups (id, display_name, display_key, description, created_at, modified_at, version) \
             values (?, ?, ?, ?, ?, ?, ?)",
        );
        let insert = insert
            .bind(&group.id)
            .bind(&group.display_name)
            .bind(group_key(&group.display_name))
            .bind(group.description.clone())
            .bind(group.created_at)
            .bind(group.modified_at)
            .bind(group.version);
        transaction.execute(insert).await?;
        for member in members {
            add_member(&mut transaction, &group.id, member, self.now()).await?;
        }
        transaction.commit().await
    }

    /// Replaces version `of` of a group, and its members if they are given. Returns `false` if the group has another version.
    /// Revokes the access tokens of users who are not members any more, and of all members if the name has changed.
    pub async fn replace_group(&self, group: &Group, members: Option<&[Member]>, of: i64) -> Result<bool, DbError> {
        weir_db::retrying(|| self.replace_group_once(group, members, of)).await
    }

    async fn replace_group_once(&self, group: &Group, members: Option<&[Member]>, of: i64) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        // All changes of groups wait for this row. Groups are nested, so the users of one group may depend on any other.
        lock_setting(&mut transaction, "groups").await?;
        let present = sql("select display_name from uaa_groups where id = ? and version = ?");
        let Some(present) = transaction.first(present.bind(&group.id).bind(of)).await? else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let renamed = present.get::<String>("display_name")? != group.display_name;
        let (before, _) = within(&mut transaction, &group.id).await?;
        let update = sql(
            "update uaa_groups set display_name = ?, display_key = ?, description = ?, modified_at = ?, version = ? \
             where id = ?",
        );
        let update = update
            .bind(&group.display_name)
            .bind(group_key(&group.display_name))
            .bind(group.description.clone())
            .bind(group.modified_at)
            .bind(group.version)
            .bind(&group.id);
        transaction.execute(update).await?;
        if let Some(members) = members {
            transaction
                .execute(sql("delete from uaa_members where group_id = ?").bind(&group.id))
                .await?;
            for member in members {
                add_member(&mut transaction, &group.id, member, self.now()).await?;
            }
        }
        let (after, _) = within(&mut transaction, &group.id).await?;
        // The name is a scope: after a change of it, no member has the scope of the tokens that were issued.
        let left = before
            .into_iter()
            .filter(|user| renamed || !after.contains(user))
            .collect();
        self.end_access_within(&mut transaction, left).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes a group, and revokes the access tokens of its users. Returns `false` if there is no such group.
    pub async fn remove_group(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_group_once(id)).await
    }

    async fn remove_group_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "groups").await?;
        let (users, _) = within(&mut transaction, id).await?;
        // The groups around this one lose a member, so they get another version.
        let outer = sql("update uaa_groups set version = version + 1 \
             where id in (select group_id from uaa_members where member_id = ?)");
        transaction.execute(outer.bind(id)).await?;
        let members = sql("delete from uaa_members where group_id = ? or member_id = ?")
            .bind(id)
            .bind(id);
        transaction.execute(members).await?;
        let removed = transaction
            .execute(sql("delete from uaa_groups where id = ?").bind(id))
            .await?;
        self.end_access_within(&mut transaction, users).await?;
        transaction.commit().await?;
        Ok(removed > 0)
    }

    /// Returns the members of a group.
    pub async fn members(&self, group: &str) -> Result<Vec<Member>, DbError> {
        members(&mut &self.db, group).await
    }

    /// Adds a member to a group, which raises its version. Returns `false` if the member is there already, or there is no such
    /// group.
    pub async fn add_member(&self, group: &str, member: &Member) -> Result<bool, DbError> {
        weir_db::retrying(|| self.add_member_once(group, member)).await
    }

    async fn add_member_once(&self, group: &str, member: &Member) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "groups").await?;
        let added = self.touch_group(&mut transaction, group).await?
            && add_member(&mut transaction, group, member, self.now()).await?;
        if added {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(added)
    }

    /// Changes the owner of a membership to `origin`, so that a login at a provider does not end it. Returns `false` if `origin`
    /// owns it already, or there is no such membership.
    pub async fn claim_member(&self, group: &str, member: &str, origin: &str) -> Result<bool, DbError> {
        let update = sql("update uaa_members set origin = ? where group_id = ? and member_id = ? and origin <> ?");
        let update = update.bind(origin).bind(group).bind(member).bind(origin);
        Ok(self.db.execute(update).await? > 0)
    }

    /// Removes a member from a group, which raises its version, and revokes the access tokens of the users who are not in the
    /// group any more. Returns `false` if there was no such member.
    pub async fn remove_member(&self, group: &str, member: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_member_once(group, member)).await
    }

    async fn remove_member_once(&self, group: &str, member: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "groups").await?;
        let (before, _) = within(&mut transaction, group).await?;
        let delete = sql("delete from uaa_members where group_id = ? and member_id = ?");
        let removed = transaction.execute(delete.bind(group).bind(member)).await? > 0;
        if removed {
            self.touch_group(&mut transaction, group).await?;
            let (after, _) = within(&mut transaction, group).await?;
            let left = before.difference(&after).cloned().collect();
            self.end_access_within(&mut transaction, left).await?;
        }
        transaction.commit().await?;
        Ok(removed)
    }

    /// Raises the version of a group. Returns `false` if there is no such group.
    async fn touch_group(&self, transaction: &mut Transaction, group: &str) -> Result<bool, DbError> {
        let update = sql("update uaa_groups set version = version + 1, modified_at = ? where id = ?");
        Ok(transaction.execute(update.bind(self.now()).bind(group)).await? == 1)
    }

    /// Returns the ids of all groups in a group, direct and indirect.
    pub async fn groups_within(&self, group: &str) -> Result<BTreeSet<String>, DbError> {
        Ok(within(&mut &self.db, group).await?.1)
    }

    /// Returns the groups that a user is in, direct and indirect.
    pub async fn memberships(&self, user: &str) -> Result<BTreeSet<Membership>, DbError> {
        let mut found: BTreeMap<String, Membership> = BTreeMap::new();
        let mut frontier = vec![user.to_owned()];
        for depth in 0..DEEPEST {
            let mut next = Vec::new();
            for chunk in frontier.chunks(CHUNK) {
                let marks = vec!["?"; chunk.len()].join(", ");
                let query = sql(format!(
                    "select distinct g.id, g.display_name from uaa_groups g \
                     join uaa_members m on m.group_id = g.id where m.member_id in ({marks})"
                ));
                for row in self.db.all(query.bind_all(chunk)).await? {
                    let id: String = row.get("id")?;
                    // Each group is followed once, so that a cycle ends, and at its smallest depth.
                    if !found.contains_key(&id) {
                        let membership = Membership {
                            id: id.clone(),
                            display_name: row.get("display_name")?,
                            direct: depth == 0,
                        };
                        found.insert(id.clone(), membership);
                        next.push(id);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            frontier = next;
        }
        Ok(found.into_values().collect())
    }

    /// Sets the memberships of a user that `origin` owns to these groups. Returns the groups that the user has left. If there
    /// are any, the user's access tokens are revoked.
    pub async fn sync_memberships(
        &self,
        user: &str,
        origin: &str,
        groups: &BTreeSet<String>,
    ) -> Result<Vec<String>, DbError> {
        // Most logins change nothing. They must not wait for the lock of all groups.
        if given_by(&mut &self.db, user, origin).await? == *groups {
            return Ok(Vec::new());
        }
        weir_db::retrying(|| self.sync_memberships_once(user, origin, groups)).await
    }

    async fn sync_memberships_once(
        &self,
        user: &str,
        origin: &str,
        groups: &BTreeSet<String>,
    ) -> Result<Vec<String>, DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "groups").await?;
        let mut left = Vec::new();
        for group in given_by(&mut transaction, user, origin).await? {
            if !groups.contains(&group) {
                let delete = sql("delete from uaa_members where group_id = ? and member_id = ? and origin = ?");
                transaction.execute(delete.bind(&group).bind(user).bind(origin)).await?;
                self.touch_group(&mut transaction, &group).await?;
                left.push(group);
            }
        }
        for group in groups {
            let member = Member {
                id: user.to_owned(),
                kind: MemberKind::User,
                origin: origin.to_owned(),
            };
            if add_member(&mut transaction, group, &member, self.now()).await? {
                self.touch_group(&mut transaction, group).await?;
            }
        }
        if !left.is_empty() {
            lock_user(&mut transaction, user).await?;
            self.revoke_within(&mut transaction, &[TokenSet::User(user.to_owned())])
                .await?;
        }
        transaction.commit().await?;
        Ok(left)
    }
}

/// Returns the groups of a user whose membership `origin` owns.
async fn given_by(on: &mut impl Executor, user: &str, origin: &str) -> Result<BTreeSet<String>, DbError> {
    let query = sql("select group_id from uaa_members where member_id = ? and origin = ?");
    let rows = on.all(query.bind(user).bind(origin)).await?;
    Ok(texts(&rows, "group_id")?.into_iter().collect())
}

/// Returns the members of a group, oldest first.
async fn members(on: &mut impl Executor, group: &str) -> Result<Vec<Member>, DbError> {
    let query = sql("select member_id, kind, origin from uaa_members where group_id = ? order by added_at, member_id");
    on.all(query.bind(group))
        .await?
        .iter()
        .map(|row| {
            Ok(Member {
                id: row.get("member_id")?,
                kind: if row.get::<String>("kind")? == "GROUP" {
                    MemberKind::Group
                } else {
                    MemberKind::User
                },
                origin: row.get("origin")?,
            })
        })
        .collect()
}

/// Returns the ids of all users and all groups in a group, direct and indirect.
async fn within(on: &mut impl Executor, group: &str) -> Result<(BTreeSet<String>, BTreeSet<String>), DbError> {
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut next = vec![group.to_owned()];
    while let Some(group) = next.pop() {
        for member in members(on, &group).await? {
            match member.kind {
                MemberKind::User => drop(users.insert(member.id)),
                // Each group is followed once, so that a cycle ends.
                MemberKind::Group if groups.insert(member.id.clone()) => next.push(member.id),
                MemberKind::Group => {}
            }
        }
    }
    Ok((users, groups))
}

async fn add_member(transaction: &mut Transaction, group: &str, member: &Member, now: i64) -> Result<bool, DbError> {
    let values = vec![
        group.into(),
        (&member.id).into(),
        member.kind.as_str().into(),
        (&member.origin).into(),
        now.into(),
    ];
    let columns = ["group_id", "member_id", "kind", "origin", "added_at"];
    transaction.insert_new("uaa_members", &columns, values).await
}
