//! Groups, and who is in them. A group's name is the scope that it gives.

use std::collections::{BTreeMap, BTreeSet};

use weir_db::{DbError, Executor, Row, Transaction, Value, sql};

use super::standing::hold_user;
use super::{Store, What, hold, texts};

/// How deep groups may stand in groups.
const DEEPEST: usize = 10;

/// Most groups in one question to the database.
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
    /// When the group was made (milliseconds since 1970).
    pub created_at: i64,
    /// When the group was last changed (milliseconds since 1970).
    pub modified_at: i64,
    /// How often the group was changed.
    pub version: i64,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A user.
    User,
    /// Another group, whose members are members by way of it.
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

/// Who is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id of the user or of the group.
    pub id: String,
    /// Whether the member is a user or a group.
    pub kind: MemberKind,
    /// Whose the membership is: `uaa` for ours, else the name of the provider that it follows.
    pub origin: String,
}

/// A group that a user is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The name of the group.
    pub display_name: String,
    /// The id of the group.
    pub id: String,
    /// Whether the user is in the group itself, and not by way of another one.
    pub direct: bool,
}

/// What must be unique of a group's name, and what names are looked up by. Case makes no other name, so that nobody is
/// taken in by `OpenID`; but for the logs of a source, whose id is compared to the letter: `logs.read.Web` is another
/// tenant's than `logs.read.web`.
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
    /// The group with this id.
    pub async fn group(&self, id: &str) -> Result<Option<Group>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_groups where id = ?")).bind(id);
        self.db.first(query).await?.as_ref().map(Group::read).transpose()
    }

    /// The group with this name, to the letter: it is a scope, and those are compared so.
    pub async fn group_by_name(&self, name: &str) -> Result<Option<Group>, DbError> {
        let found = self.group_like(name).await?;
        Ok(found.filter(|group| group.display_name == name))
    }

    /// The group that is in the way of a new one with this name.
    pub async fn group_like(&self, name: &str) -> Result<Option<Group>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_groups where display_key = ?")).bind(group_key(name));
        self.db.first(query).await?.as_ref().map(Group::read).transpose()
    }

    /// A part of the groups that meet a condition made by the filter parser, and how many there are in all.
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

    /// Makes a group with its members; [`DbError::Duplicate`] if the name is taken.
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

    /// Writes a group over its version `of`, and its members if they are given; `false` if it has another version. Ends the
    /// access tokens of those who are not in it any more, or have another scope by it now.
    pub async fn replace_group(&self, group: &Group, members: Option<&[Member]>, of: i64) -> Result<bool, DbError> {
        weir_db::retrying(|| self.replace_group_once(group, members, of)).await
    }

    async fn replace_group_once(&self, group: &Group, members: Option<&[Member]>, of: i64) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        // Nobody changes any group meanwhile.
        hold(&mut transaction, "groups").await?;
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
        let left = before
            .into_iter()
            .filter(|user| renamed || !after.contains(user))
            .collect();
        self.end_access_within(&mut transaction, left).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes a group, and ends the access tokens of those who were in it; its members stay.
    pub async fn remove_group(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_group_once(id)).await
    }

    async fn remove_group_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "groups").await?;
        let (users, _) = within(&mut transaction, id).await?;
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

    /// Who is in a group.
    pub async fn members(&self, group: &str) -> Result<Vec<Member>, DbError> {
        members(&mut &self.db, group).await
    }

    /// Puts somebody into a group, which has another version then; `false` if they are there, or the group is not.
    pub async fn add_member(&self, group: &str, member: &Member) -> Result<bool, DbError> {
        weir_db::retrying(|| self.add_member_once(group, member)).await
    }

    async fn add_member_once(&self, group: &str, member: &Member) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "groups").await?;
        let added = self.touch_group(&mut transaction, group).await?
            && add_member(&mut transaction, group, member, self.now()).await?;
        if added {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(added)
    }

    /// Makes a membership that a provider gave one that `origin` gives, which no login takes away; `false` if it is one
    /// already, or there is none.
    pub async fn claim_member(&self, group: &str, member: &str, origin: &str) -> Result<bool, DbError> {
        let update = sql("update uaa_members set origin = ? where group_id = ? and member_id = ? and origin <> ?");
        let update = update.bind(origin).bind(group).bind(member).bind(origin);
        Ok(self.db.execute(update).await? > 0)
    }

    /// Takes somebody out of a group, which has another version then, and ends the access tokens of those who are not in
    /// it any more; `false` if they were not there.
    pub async fn remove_member(&self, group: &str, member: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_member_once(group, member)).await
    }

    async fn remove_member_once(&self, group: &str, member: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "groups").await?;
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

    /// Gives a group another version; `false` if there is no such group.
    async fn touch_group(&self, transaction: &mut Transaction, group: &str) -> Result<bool, DbError> {
        let update = sql("update uaa_groups set version = version + 1, modified_at = ? where id = ?");
        Ok(transaction.execute(update.bind(self.now()).bind(group)).await? == 1)
    }

    /// All groups in a group, by way of other groups too.
    pub async fn groups_within(&self, group: &str) -> Result<BTreeSet<String>, DbError> {
        Ok(within(&mut &self.db, group).await?.1)
    }

    /// The groups that a user is in, by way of other groups too.
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

    /// Makes the memberships that `origin` gave a user those in these groups, and no other; the groups that are left. If
    /// there are any, the user's access tokens end.
    pub async fn sync_memberships(
        &self,
        user: &str,
        origin: &str,
        groups: &BTreeSet<String>,
    ) -> Result<Vec<String>, DbError> {
        // Most logins change nothing, and wait for nobody.
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
        hold(&mut transaction, "groups").await?;
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
            hold_user(&mut transaction, user).await?;
            self.revoke_within(&mut transaction, &[What::User(user.to_owned())])
                .await?;
        }
        transaction.commit().await?;
        Ok(left)
    }
}

/// The groups that a user is in because `origin` says so.
async fn given_by(on: &mut impl Executor, user: &str, origin: &str) -> Result<BTreeSet<String>, DbError> {
    let query = sql("select group_id from uaa_members where member_id = ? and origin = ?");
    let rows = on.all(query.bind(user).bind(origin)).await?;
    Ok(texts(&rows, "group_id")?.into_iter().collect())
}

/// Who is in a group.
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

/// All users and all groups in a group, by way of other groups too.
async fn within(on: &mut impl Executor, group: &str) -> Result<(BTreeSet<String>, BTreeSet<String>), DbError> {
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut next = vec![group.to_owned()];
    while let Some(group) = next.pop() {
        for member in members(on, &group).await? {
            match member.kind {
                MemberKind::User => drop(users.insert(member.id)),
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
