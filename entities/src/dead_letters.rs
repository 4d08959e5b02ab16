//! `dead_letters`: entries that could not be applied, kept whole.

use sea_orm::entity::prelude::*;

/// One row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letters")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub write: i64,
    /// Read out of the entry; none if it could not be read.
    pub author: Option<i64>,
    pub lane: i64,
    pub position: i64,
    pub entry: Vec<u8>,
    pub error: String,
    pub died_at: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
