//! `shard`: the one row that says who this shard is.

use sea_orm::entity::prelude::*;

/// One row of `shard`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "shard")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The id of the journal that it joined.
    pub journal: Option<String>,
    pub shard_name: Option<String>,
    /// Raised each time another primary takes over.
    pub epoch: i64,
    /// It has all its entries of the journal up to here, but for those that are parked for it.
    pub complete_to: Option<i64>,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
