//! `inbox_window_actors`: who is in a window, besides those who stand in its row.

use sea_orm::entity::prelude::*;

/// One row of `inbox_window_actors`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_window_actors")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub target_kind: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub target: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub actor: i64,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
