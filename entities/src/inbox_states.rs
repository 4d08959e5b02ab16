//! `inbox_states`: where each inbox stands.

use sea_orm::entity::prelude::*;

/// One row of `inbox_states`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_states")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    pub seq: i64,
    pub min_seq: i64,
    pub unread: i64,
    pub read_up_to: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
