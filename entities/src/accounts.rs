//! `accounts`: accounts and their profiles.

use sea_orm::entity::prelude::*;

/// One row of `accounts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user: i64,
    pub username: String,
    pub display_name: String,
    pub bio: Option<String>,
    pub password_hash: Option<String>,
    pub role: i64,
    pub revision: i64,
    pub failed_logins: i64,
    pub backed_off_until: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
