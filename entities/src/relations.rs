//! `relations`: one side of a pair of users.

use sea_orm::entity::prelude::*;

/// One row of `relations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "relations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub other: i64,
    pub following_since: Option<i64>,
    pub following_notify: Option<i64>,
    pub followed_since: Option<i64>,
    pub followed_notify: Option<i64>,
    pub blocking: bool,
    pub blocked_by: bool,
    pub has_followed: bool,
    pub was_followed: bool,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
