"""Home zones: memberships of numbers, groups, fixes, cells and offers.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _places()
    _members()


def _places() -> None:
    op.create_table(
        "zone_cell",
        sa.Column("mcc", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("mnc", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("area", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cell", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("radio", sa.Text(), nullable=False),
        sa.Column("latitude_e7", sa.Integer(), nullable=False),
        sa.Column("longitude_e7", sa.Integer(), nullable=False),
        sa.Column("range_m", sa.Integer(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("mcc", "mnc", "area", "cell", name=op.f("pk_zone_cell")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "zone_fix",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("latitude_e7", sa.Integer(), nullable=False),
        sa.Column("longitude_e7", sa.Integer(), nullable=False),
        sa.Column("placed", sa.SmallInteger(), nullable=False),
        sa.Column("accuracy_m", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("plmn", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_fix")),
    )
    op.create_index("ix_zone_fix_number", "zone_fix", ["number", "measured_at"], unique=False)


def _members() -> None:
    op.create_table(
        "zone_group_member",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", "name", name=op.f("pk_zone_group_member")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_zone_group_member_name", "zone_group_member", ["name", "number"], unique=False)
    op.create_index("ix_zone_group_member_revision", "zone_group_member", ["revision"], unique=False)
    op.create_table(
        "zone_member",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("zone", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("latitude_e7", sa.Integer(), nullable=False),
        sa.Column("longitude_e7", sa.Integer(), nullable=False),
        sa.Column("radius_m", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.SmallInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_member")),
    )
    op.create_index("ix_zone_member_number", "zone_member", ["number"], unique=False)
    op.create_index("ix_zone_member_revision", "zone_member", ["revision"], unique=False)
    op.create_table(
        "zone_offer",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("policy", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offered_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", "policy", name=op.f("pk_zone_offer")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("zone_offer", "zone_member", "zone_group_member", "zone_fix", "zone_cell"):
        op.drop_table(table)
