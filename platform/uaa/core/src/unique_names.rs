//! Users and groups are written here, so that a name which is in use is one refusal wherever it happens.

use weir_db::DbError;
use weir_platform_uaa_store::{Group, Member, User};

use crate::app::App;
use crate::refusal::Refusal;

impl App {
    /// Adds a user.
    ///
    /// # Errors
    /// [`Refusal::UserNameInUse`] if another user of the origin has the name.
    pub async fn add_user(&self, user: &User) -> Result<(), Refusal> {
        match self.store.add_user(user).await {
            Err(DbError::Duplicate(_)) => Err(self.user_name_in_use(user).await?),
            added => Ok(added?),
        }
    }

    /// Replaces version `of` of a user. Returns `false` if the user has another version.
    ///
    /// # Errors
    /// [`Refusal::UserNameInUse`] if another user of the origin has the name.
    pub async fn replace_user(&self, user: &User, of: i64) -> Result<bool, Refusal> {
        match self.store.replace_user(user, of).await {
            Err(DbError::Duplicate(_)) => Err(self.user_name_in_use(user).await?),
            replaced => Ok(replaced?),
        }
    }

    /// Adds a group with its members.
    ///
    /// # Errors
    /// [`Refusal::GroupNameInUse`] if another group has the name.
    pub async fn add_group(&self, group: &Group, members: &[Member]) -> Result<(), Refusal> {
        let added = self.store.add_group(group, members).await;
        added.map_err(|error| group_refusal(error, group))
    }

    /// Replaces version `of` of a group, and its members if they are given. Returns `false` if the group has another version.
    ///
    /// # Errors
    /// [`Refusal::GroupNameInUse`] if another group has the name.
    pub async fn replace_group(&self, group: &Group, members: Option<&[Member]>, of: i64) -> Result<bool, Refusal> {
        let replaced = self.store.replace_group(group, members, of).await;
        replaced.map_err(|error| group_refusal(error, group))
    }

    async fn user_name_in_use(&self, user: &User) -> Result<Refusal, DbError> {
        let holder = self.store.user_by_name(&user.origin, &user.user_name).await?;
        Ok(Refusal::UserNameInUse {
            user_name: user.user_name.clone(),
            holder: holder.map(Box::new),
        })
    }
}

fn group_refusal(error: DbError, group: &Group) -> Refusal {
    match error {
        DbError::Duplicate(_) => Refusal::GroupNameInUse {
            display_name: group.display_name.clone(),
        },
        error => error.into(),
    }
}
