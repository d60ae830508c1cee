/**
 * `f_type` of ext2 to ext4, XFS and btrfs: they map what is on the disk after a sync, and keep times as
 * docs/explanation/unchanged.md needs them. Of others nothing is known.
 */
export const knownFileSystems: ReadonlySet<bigint> = new Set([0xef53n, 0x58465342n, 0x9123683en])
