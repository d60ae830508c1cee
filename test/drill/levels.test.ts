import { createHash } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { MiB } from '../../src/base/bytes.ts'
import type { FileAssertion } from '../../src/base/drill-rules.ts'
import { createLog } from '../../src/base/log.ts'
import { parseDigest, parseVmName, parseVolumeName } from '../../src/base/names.ts'
import type { Examined } from '../../src/drill/examine.ts'
import type { ExaminedLevel } from '../../src/drill/examined-levels.ts'
import { scratch } from '../support/scratch.ts'
import {
  examine,
  examineHere,
  makeFileSystem,
  noRules,
  run,
  sizes,
  type Trial,
  Volumes,
  vm,
} from './support.ts'

const levelsOf = ({ levels }: Examined) =>
  levels.map(({ level, result, message }) => [level, result, message])
const root = volumeName('root')

function volumeName(name: string) {
  return parseVolumeName(name)
}

function plant(file: string, at: number, bytes: Uint8Array): void {
  const handle = openSync(file, 'r+')
  writeSync(handle, bytes, 0, bytes.byteLength, at)
  closeSync(handle)
}

/** A fault of each kind that only its own checker can find: the superblock stays as it was. */
const faults = {
  /** The bitmap of used inodes. */
  ext: file => [Number(/Inode bitmap at (\d+)/.exec(run('dumpe2fs', file))?.[1]) * 1024],
  /** What is free in the first group. */
  xfs: () => [4096],
  /** All copies of the tree block that lies last. */
  btrfs: file => {
    const bytes = readFileSync(file)
    const id = bytes.subarray(0x10020, 0x10030)
    const blocks: [number, number][] = []
    for (let at = MiB; at < bytes.byteLength; at += 4096)
      if (
        bytes.subarray(at + 32, at + 48).equals(id) &&
        bytes.toString('latin1', at + 64, at + 72) !== '_BHRfS_M'
      )
        blocks.push([at, Number(bytes.readBigUInt64LE(at + 48))])
    const last = Math.max(...blocks.map(([, address]) => address))
    return blocks.filter(([, address]) => address === last).map(([at]) => at + 100)
  },
  /** One of the two tables. */
  fat: file => [readFileSync(file).readUInt16LE(14) * 512 + 8],
} as const satisfies Record<string, (file: string) => readonly number[]>
const garbage = Buffer.alloc(8, 0xa5)
const kinds = Object.keys(faults) as (keyof typeof faults)[]

describe('the level filesystem', () => {
  const sound = new Volumes()
  beforeAll(() => {
    for (const kind of kinds) makeFileSystem(kind, sound.add(kind, sizes[kind]))
    sound.add('zeros', 1_000_001)
    run('mkswap', sound.add('swap', MiB))
  })

  it('passes for sound file systems of every kind, swap space and zeros, and names its tools', async () => {
    const examined = await examine(sound, sound.order())
    expect(levelsOf(examined)).toEqual([
      ['filesystem', 'passed', 'sound file systems: 4; all else is empty, swap space or a boot loader'],
    ])
    const tools = examined.tools.map(text => text.replace(/ \d+(\.\d+)+$/, ''))
    expect(tools).toEqual(['e2fsck', 'xfs_repair', 'btrfs', 'fsck.fat'])
  })

  it.each(kinds)('fails for a damaged %s, and says which volume it is', async kind => {
    const volumes = new Volumes()
    volumes.add('zeros', MiB)
    copyFileSync(sound.file(kind), volumes.add('bad', sizes[kind]))
    for (const at of faults[kind](volumes.file('bad'))) plant(volumes.file('bad'), at, garbage)
    const [[, result, message] = []] = levelsOf(await examineHere(volumes, volumes.order()))
    expect(message).toMatch(/^volume 2: the file system has errors \(status \d+ of its checker\)$/)
    expect(result).toBe('failed')
  })

  it('looks into partitions, at their offsets too, and into a kind whose checker needs a copy', async () => {
    const volumes = new Volumes()
    const disk = volumes.add('disk', 420 * MiB)
    const table = [
      'label: gpt',
      'size=2M, type=21686148-6449-6E6F-744E-656564454649',
      'size=8M',
      'size=300M',
      'size=4M',
    ]
    partition(disk, table)
    plant(disk, MiB, Buffer.alloc(4096, 'GRUB'))
    fill(disk, 3, 'ext')
    fill(disk, 11, 'xfs')
    fill(disk, 311, 'fat')
    expect(levelsOf(await examine(volumes, volumes.order()))).toEqual([
      ['filesystem', 'passed', 'sound file systems: 3; all else is empty, swap space or a boot loader'],
    ])
    plant(disk, 11 * MiB + 4096, garbage)
    const [[, , xfs] = []] = levelsOf(await examineHere(volumes, volumes.order()))
    expect(xfs).toMatch(/^volume 1, partition 3: the file system has errors/)
    plant(disk, 3 * MiB + (faults.ext(sound.file('ext'))[0] ?? 0), garbage)
    const [[, , ext] = []] = levelsOf(await examineHere(volumes, volumes.order()))
    expect(ext).toMatch(/^volume 1, partition 2: the file system has errors/)
    const small: Trial = { limits: { memoryBytesMax: 130 * MiB } }
    plant(disk, 3 * MiB, readFileSync(sound.file('ext')))
    plant(disk, 12 * MiB, Buffer.alloc(60 * MiB, 1))
    const [[, , large] = []] = levelsOf(await examine(volumes, volumes.order(), small))
    expect(large).toMatch(/^volume 1, partition 3: the checker for this kind needs a copy/)
  })

  it('looks into logical partitions', async () => {
    const volumes = new Volumes()
    const disk = volumes.add('disk', 40 * MiB)
    partition(disk, ['label: dos', 'size=8M', 'type=5', 'size=9M', 'size=8M'])
    const starts = run('sfdisk', '-d', disk)
      .match(/start= +\d+/g)
      ?.map(text => Number(/\d+/.exec(text)) * 512)
    for (const index of [0, 2, 3]) plant(disk, starts?.[index] ?? 0, readFileSync(sound.file('ext')))
    expect(levelsOf(await examineHere(volumes, volumes.order()))).toEqual([
      ['filesystem', 'passed', 'sound file systems: 3; all else is empty, swap space or a boot loader'],
    ])
  })

  it.each([
    [
      'holds nothing that is known, and is not empty',
      Buffer.concat([Buffer.alloc(5000), Buffer.from('data')]),
    ],
    ['is encrypted, part of a volume group', Buffer.from('LUKS\xba\xbe\0\x02', 'latin1')],
    ['is encrypted, part of a volume group', Buffer.concat([Buffer.alloc(512), Buffer.from('LABELONE')])],
  ])('fails for what it cannot see into: %s', async (message, bytes) => {
    const volumes = new Volumes()
    volumes.add('data', MiB, bytes)
    const [[, result, text] = []] = levelsOf(await examineHere(volumes, volumes.order()))
    expect(text).toContain(message)
    expect(result).toBe('failed')
  })

  it('replays the journal of a file system that was in use, on a copy', async () => {
    const volumes = new Volumes()
    const file = volumes.add('busy', sizes.ext)
    makeFileSystem('ext', file)
    // A file is made; all blocks that this changed stand in the journal, and one of them, of the group descriptors, in its place: so it looks after a crash.
    const old = readFileSync(file)
    run('debugfs', '-w', '-R', 'write /etc/hostname kept', file)
    const changed = readFileSync(file)
    const blockAt = (bytes: Buffer, block: number) => bytes.subarray(block * 1024, (block + 1) * 1024)
    const blocks = Array.from({ length: old.byteLength / 1024 }, (_, block) => block).filter(
      block => !blockAt(old, block).equals(blockAt(changed, block)),
    )
    const saved = path.join(scratch('journal'), 'blocks')
    writeFileSync(saved, Buffer.concat(blocks.map(block => blockAt(changed, block))))
    writeFileSync(file, old)
    const commands = path.join(scratch('commands'), 'commands')
    writeFileSync(commands, `jo\njw -b ${blocks.join(',')} ${saved}\njc\n`)
    run('debugfs', '-w', '-f', commands, file)
    plant(file, 2 * 1024, blockAt(changed, 2))
    expect(() => run('e2fsck', '-fn', file)).toThrow()
    const before = readFileSync(file)
    expect(run('dumpe2fs', '-h', file)).toContain('needs_recovery')
    const examined = levelsOf(await examine(volumes, volumes.order()))
    expect(examined).toEqual([
      ['filesystem', 'passed', 'sound file systems: 1; all else is empty, swap space or a boot loader'],
    ])
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  it('fails when a volume is not there, or has another length', async () => {
    const volumes = new Volumes()
    const file = volumes.add('short', MiB)
    const order = volumes.order()
    truncateSync(file, MiB - 1)
    const [[, result, message] = []] = levelsOf(await examineHere(volumes, order))
    expect([result, message]).toEqual(['failed', 'volume 1: the volume is not there, or has another length'])
  })

  function fill(disk: string, atMiB: number, kind: keyof typeof faults): void {
    plant(disk, atMiB * MiB, readFileSync(sound.file(kind)))
  }
})

function partition(disk: string, lines: readonly string[]): void {
  const script = path.join(scratch('sfdisk'), 'table')
  writeFileSync(script, `${lines.join('\n')}\n`)
  run('/bin/sh', '-c', 'sfdisk -q --no-tell-kernel "$0" < "$1"', disk, script)
}

describe('the level files', () => {
  const names = {
    plain: '/plain',
    spaced: '/a b',
    quoted: '/say "hi"',
    backslash: '/back\\slash',
    line: '/two\nlines',
    option: '/-f',
    inode: '/<12>',
    unicode: '/größe',
    twoQuotes: '/""',
  }
  const content = Buffer.concat([Buffer.from('first line\n'), Buffer.alloc(70_000, 'x')])
  const sha256 = parseDigest(createHash('sha256').update(content).digest('hex'))
  const volumes = new Volumes()
  const rule = (change: Partial<FileAssertion> = {}): FileAssertion => ({
    ...{ vm, volume: root, path: names.plain, sha256: null, ageDaysMax: null, contains: null },
    ...change,
  })
  const holds = (...files: FileAssertion[]) =>
    examineHere(volumes, volumes.order({ levels: ['files'], rules: { ...noRules, files } })).then(
      ({ levels: [one] }) => [one?.result, one?.message],
    )

  beforeAll(() => {
    const file = volumes.add('root', sizes.ext)
    makeFileSystem('ext', file)
    makeFileSystem('xfs', volumes.add('xfs', sizes.xfs))
    const source = path.join(scratch('files'), 'source')
    writeFileSync(source, content)
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
    for (const name of Object.values(names)) {
      run('debugfs', '-w', '-R', `write ${source} ${quoted(name.slice(1))}`, file)
      run('debugfs', '-w', '-R', `set_inode_field ${quoted(name)} mtime 20261120000000`, file)
    }
    run('debugfs', '-w', '-R', 'mkdir dir', file)
    run('debugfs', '-w', '-R', 'symlink link plain', file)
    run('debugfs', '-w', '-R', 'symlink up dir', file)
    run('debugfs', '-w', '-R', `write ${source} dir/inside`, file)
    run('debugfs', '-w', '-R', `write ${source} torn`, file)
    // Points beyond the end of the volume.
    run('debugfs', '-w', '-R', 'set_inode_field torn flags 0', file)
    run('debugfs', '-w', '-R', 'set_inode_field torn block[3] 99999999', file)
    run('debugfs', '-w', '-R', `write ${source} huge`, file)
    run('debugfs', '-w', '-R', 'set_inode_field huge size 0x40000000000000', file)
  })

  it('passes when everything holds, whatever names are like', async () => {
    const files = Object.values(names).map(one =>
      rule({ path: one, sha256, ageDaysMax: 5, contains: 'first line' }),
    )
    expect(
      await holds(...files, rule({ path: '/dir/inside', sha256 }), rule({ path: '/up/inside' })),
    ).toEqual(['passed', `files that are as the profile says: ${files.length + 2}`])
  })

  it.each([
    ['rule 2: no plain file has that name', { path: '/missing' }],
    ['rule 2: no plain file has that name', { path: '/dir' }],
    ['rule 2: no plain file has that name', { path: '/link' }],
    ['rule 2: no plain file has that name', { path: '/plain" "/dir/inside' }],
    ['rule 2: no plain file has that name', { path: '/<13>' }],
    ['rule 2: no plain file has that name', { path: '/nowhere\nquit' }],
    ['rule 2: the path is not an absolute one', { path: '<12>' }],
    ['rule 2: the path is not an absolute one', { path: '/pl\0ain' }],
    ['rule 2: the content has another digest', { sha256: parseDigest('0'.repeat(64)) }],
    ['rule 2: the file was not modified within those days', { ageDaysMax: 4 }],
    ['rule 2: the content is without that text', { contains: 'second line' }],
    ['rule 2: the file cannot be read to its end', { path: '/torn', sha256 }],
    ['rule 2: the file claims to be larger than its volume', { path: '/huge', sha256 }, 'suspicious'],
    ['rule 2: single files can be looked at in ext2, ext3 and ext4 only', { volume: volumeName('xfs') }],
    ['rule 2: the snapshot has no such volume', { volume: volumeName('other') }],
    ['rule 2: the snapshot has no such volume', { vm: parseVmName('other') }],
  ] as const)('fails: %s', async (message, change, result: string = 'failed') => {
    const [found, text] = await holds(rule(), rule(change))
    expect(text).toContain(message)
    expect(found).toBe(result)
  })

  it('is proven behind walls as it is here', async () => {
    const proven = (files: FileAssertion[]) =>
      examine(volumes, volumes.order({ levels: ['files'], rules: { ...noRules, files } })).then(levelsOf)
    const passed = ['files', 'passed', 'files that are as the profile says: 1']
    const failed = ['files', 'failed', 'volume 1: rule 2: the content has another digest']
    expect(await proven([rule({ sha256 })])).toEqual([passed])
    expect(await proven([rule(), rule({ sha256: parseDigest('0'.repeat(64)) })])).toEqual([failed])
  })

  it('fails when no file is named', async () => {
    expect(await holds()).toEqual(['failed', 'the profile says nothing that this could prove'])
  })
})

describe('the level program', () => {
  const volumes = new Volumes()
  volumes.add('root', MiB, Buffer.from('magic word'))
  const ends = async (
    program: string | null,
    trial: Trial = {},
    levels: readonly ExaminedLevel[] = ['program'],
  ) => {
    const order = volumes.order({ levels, rules: { ...noRules, program } })
    return levelsOf(await examine(volumes, order, trial)).map(([, result, message]) => [result, message])
  }

  it('passes when the script ends with 0, and can be heard in the log alone', async () => {
    const lines: string[] = []
    const log = createLog('test', line => lines.push(line))
    const program = 'head -c 5 "$VOLUMES/work/root.img" | grep -q "^magic$" && echo heard'
    expect(await ends(program, { log })).toEqual([['passed', 'the program ended with 0']])
    expect(lines.join('')).toContain('heard')
  })

  it.each([
    ['exit 7', 'failed', 'the program ended with 7'],
    ['grep -q other "$VOLUMES/work/root.img"', 'failed', 'the program ended with 1'],
    ['kill -9 $$', 'suspicious', 'the program crashed, or ran out of memory'],
    ['yes', 'suspicious', 'the program did not stop talking'],
    ['echo x > "$VOLUMES/work/root.img"', 'failed', 'the program ended with 2'],
    ['rm -f "$VOLUMES/work/root.img"', 'failed', 'the program ended with 1'],
    [null, 'failed', 'the profile says nothing that this could prove'],
  ])('does not pass: %s', async (program, result, message) => {
    expect(await ends(program)).toEqual([[result, message]])
  })

  it('does not pass when it takes too long, even if something of it hides', async () => {
    const trial = { limits: { millisecondsMax: 8000 } }
    expect(
      await ends(
        "setsid sh -c 'touch /tmp/up; sleep 1000' & until [ -e /tmp/up ]; do sleep 0.1; done",
        trial,
      ),
    ).toEqual([['suspicious', 'there was not enough time']])
  })

  it('is not reached when a level before it fails', async () => {
    expect(await ends('exit 0', {}, ['filesystem', 'program'])).toEqual([
      ['failed', 'volume 1: holds nothing that is known, and is not empty'],
    ])
  })
})
