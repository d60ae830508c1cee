import { KiB } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { type ProfileName, parseVmName, type VmName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { type Compression, compressionDefault, parseCompression } from './compression.ts'
import { fault, type Position, ProfileError } from './errors.ts'
import { type Extensions, extensionsDefault, parseExtensions } from './extensions.ts'
import { parseSelector, type Selector } from './selector.ts'
import { parseYaml } from './yaml.ts'
import { fieldsOf, isNull, listOf, missing, parsedOf, textOf, wrongType } from './yaml-fields.ts'
import { describeNode, type YamlMapping, type YamlNode } from './yaml-node.ts'

/*
 * The backup profile of Qubes OS (qubes/api/admin.py, `_load_backup_profile`), read strictly: a file that stock qubesd
 * accepts and means something by is accepted; one that it silently misreads is refused with the reason. Our own keys
 * stand under `strongroom:`, which stock qubesd ignores, so that one file serves both.
 */

export const profileBytesMax = 64 * KiB
const pathLengthMax = 4096
const profileStart: Position = { line: 1, column: 1 }

export interface Profile extends Extensions {
  readonly name: ProfileName
  readonly destinationVm: VmName
  readonly destinationVmAt: Position
  /** As the storage VM understands it; the product's own storage service takes no path from a profile. */
  readonly destinationPath: string
  /** `null`: every VM whose property include_in_backups is set. */
  readonly include: readonly Selector[] | null
  readonly exclude: readonly Selector[]
  readonly compression: Compression
  readonly passphraseVm: VmName
  readonly passphraseVmAt: Position
  /** What is accepted but may surprise. */
  readonly warnings: readonly string[]
}

const keys = [
  'include',
  'exclude',
  'destination_vm',
  'destination_path',
  'compression',
  'passphrase_vm',
  'strongroom',
]

/** Throws `ProfileError` with line and column, whatever the bytes are. */
export function parseProfile(untrustedText: Untrusted<Uint8Array>, name: ProfileName): Profile {
  return untrustedText.parse(bytes => {
    if (bytes.byteLength > profileBytesMax)
      throw new ProfileError(
        'PROFILE_TOO_LARGE',
        `a profile of ${bytes.byteLength} bytes; at most ${profileBytesMax} are read`,
      )
    return readProfile(topLevel(parseYaml(bytes)), name)
  })
}

function topLevel(root: YamlNode | null): YamlMapping {
  if (root?.kind === 'mapping') return root
  const found = root === null || isNull(root) ? 'is empty' : `is ${describeNode(root)}`
  throw fault(
    'PROFILE_NOT_MAPPING',
    root?.at ?? profileStart,
    `the profile ${found}; expected keys and values`,
  )
}

function readProfile(root: YamlMapping, name: ProfileName): Profile {
  refusePassphraseText(root)
  const fields = fieldsOf(root, 'the profile', keys)
  const required = (key: string): YamlNode => {
    const node = fields.get(key)
    if (node === undefined) throw missing(key, root.at)
    return node
  }
  const warnings: string[] = []
  const destination = required('destination_vm')
  const destinationPath = parsePath(required('destination_path'))
  const include = parseInclude(required('include'))
  const exclude = fields.get('exclude')
  const compression = fields.get('compression')
  const passphrase = required('passphrase_vm')
  const extensions = fields.get('strongroom')
  return {
    name,
    destinationVm: parsedOf(destination, 'destination_vm', parseVmName),
    destinationVmAt: destination.at,
    destinationPath,
    include,
    exclude: exclude === undefined ? [] : parseSelectors(exclude, 'exclude'),
    compression: compression === undefined ? compressionDefault : parseCompression(compression, warnings),
    passphraseVm: parsedOf(passphrase, 'passphrase_vm', parseVmName),
    passphraseVmAt: passphrase.at,
    ...(extensions === undefined ? extensionsDefault : parseExtensions(extensions)),
    warnings,
  }
}

/** Before anything else is read: the text must not reach a message, nor its key the list of those that may be given. */
function refusePassphraseText({ entries }: YamlMapping): void {
  const entry = entries.find(({ key }) => key === 'passphrase_text')
  if (entry !== undefined)
    throw fault(
      'PROFILE_PASSPHRASE_TEXT',
      entry.value.at,
      'passphrase_text keeps the passphrase in clear text',
    )
}

function parseInclude(node: YamlNode): readonly Selector[] | null {
  if (isNull(node)) return null
  const selectors = parseSelectors(node, 'include')
  if (selectors.length === 0)
    throw fault('PROFILE_SELECTION_EMPTY', node.at, 'include is an empty list, so nothing would be backed up')
  return selectors
}

function parseSelectors(node: YamlNode, what: 'include' | 'exclude'): readonly Selector[] {
  if (node.kind === 'scalar' && node.type === 'text')
    throw fault(
      'PROFILE_TYPE',
      node.at,
      `'${what}' is the text '${printable(node.text).slice(0, 60)}', which stock qubesd reads letter by letter; expected a list`,
      { hint: `write a list: ${what}: [ "…" ]` },
    )
  return listOf(node, what).map(item => {
    if (item.kind !== 'scalar' || item.type !== 'text') throw wrongType(item, `an item of ${what}`, 'text')
    return parseSelector(item.text, item.at)
  })
}

function parsePath(node: YamlNode): string {
  const path = textOf(node, 'destination_path')
  if (path.length === 0 || path.length > pathLengthMax || /\p{Cc}/u.test(path))
    throw fault(
      'PROFILE_VALUE',
      node.at,
      `destination_path has ${path.length} characters or a control character; expected one line of 1 to ${pathLengthMax}`,
    )
  return path
}
