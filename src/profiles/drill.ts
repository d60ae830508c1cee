import { type DrillLevel, drillLevels } from '../base/drill-levels.ts'
import {
  assertionsMax,
  type BootRule,
  bootSecondsMax,
  type DrillRules,
  type FileAssertion,
  filePathLengthMax,
  markerLengthMax,
  scriptLengthMax,
  textLengthMax,
} from '../base/drill-rules.ts'
import { printable } from '../base/errors.ts'
import { parseDigest, parseVmName, parseVolumeName } from '../base/names.ts'
import { fault } from './errors.ts'
import { choiceOf, fieldsOf, integerOf, listOf, missing, parsedOf, textOf } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'

const daysMax = 36_500
const secondsDefault = 300

/** What `strongroom.drill` of a profile says of restore drills. Throws `ProfileError` with the place. */
export function parseDrill(node: YamlNode): DrillRules {
  const fields = fieldsOf(node, 'drill', ['levels', 'within_days', 'files', 'boot', 'program'])
  const optional = <T>(key: string, parser: (value: YamlNode) => T): T | null => {
    const value = fields.get(key)
    return value === undefined ? null : parser(value)
  }
  const levels = fields.get('levels')
  if (levels === undefined) throw missing('levels', node.at)
  const rules: DrillRules = {
    levels: parseLevels(levels),
    withinDays: optional('within_days', value => integerOf(value, 'within_days', 1, daysMax)),
    files: optional('files', parseFiles) ?? [],
    boot: optional('boot', parseBoot),
    program: optional('program', value => boundedText(value, 'program', scriptLengthMax)),
  }
  if (rules.levels.some(level => level !== 'objects') && !rules.levels.includes('data'))
    throw fault(
      'PROFILE_VALUE',
      levels.at,
      "what looks at volumes needs the level 'data', which restores them",
    )
  // Nobody seals a key in the belief that it has an effect, nor a level that has nothing to prove.
  for (const level of ['files', 'boot', 'program'] as const) {
    const value = fields.get(level)
    const isChosen = rules.levels.includes(level)
    if (isChosen && value === undefined) throw missing(level, node.at)
    if (!isChosen && value !== undefined)
      throw fault('PROFILE_VALUE', value.at, `'${level}' has an effect only with the level ${level}`)
  }
  return rules
}

/** In their own order, however they are written. */
function parseLevels(node: YamlNode): readonly DrillLevel[] {
  const chosen = listOf(node, 'levels').map(item => choiceOf(item, 'an item of levels', drillLevels))
  if (chosen.length === 0 || new Set(chosen).size < chosen.length)
    throw fault('PROFILE_VALUE', node.at, 'levels is empty, or names a level twice')
  return drillLevels.filter(level => chosen.includes(level))
}

function parseFiles(node: YamlNode): readonly FileAssertion[] {
  const items = listOf(node, 'files')
  if (items.length === 0 || items.length > assertionsMax)
    throw fault('PROFILE_VALUE', node.at, `files has ${items.length} items; expected 1 to ${assertionsMax}`)
  return items.map(parseFile)
}

function parseFile(node: YamlNode): FileAssertion {
  const fields = fieldsOf(node, 'an item of files', [
    'vm',
    'volume',
    'path',
    'sha256',
    'age_days_max',
    'contains',
  ])
  const required = requiredOf(node, fields)
  const [sha256, age, contains] = ['sha256', 'age_days_max', 'contains'].map(key => fields.get(key))
  return {
    vm: parsedOf(required('vm'), 'vm', parseVmName),
    volume: parsedOf(required('volume'), 'volume', parseVolumeName),
    path: parsePath(required('path')),
    sha256: sha256 === undefined ? null : parsedOf(sha256, 'sha256', parseDigest),
    ageDaysMax: age === undefined ? null : integerOf(age, 'age_days_max', 1, daysMax),
    contains: contains === undefined ? null : boundedText(contains, 'contains', textLengthMax),
  }
}

function parsePath(node: YamlNode): string {
  const path = boundedText(node, 'path', filePathLengthMax)
  const parts = path.split('/').slice(1)
  if (!path.startsWith('/') || /\p{Cc}/u.test(path) || parts.some(part => ['', '.', '..'].includes(part)))
    throw fault(
      'PROFILE_VALUE',
      node.at,
      `'path' is '${printable(path).slice(0, 60)}'; expected an absolute path of a file, without . and ..`,
    )
  return path
}

function parseBoot(node: YamlNode): BootRule {
  const fields = fieldsOf(node, 'boot', ['vm', 'marker', 'seconds_max'])
  const required = requiredOf(node, fields)
  const seconds = fields.get('seconds_max')
  return {
    vm: parsedOf(required('vm'), 'vm', parseVmName),
    marker: boundedText(required('marker'), 'marker', markerLengthMax),
    secondsMax: seconds === undefined ? secondsDefault : integerOf(seconds, 'seconds_max', 1, bootSecondsMax),
  }
}

function requiredOf(node: YamlNode, fields: ReadonlyMap<string, YamlNode>): (key: string) => YamlNode {
  return key => fields.get(key) ?? raise(missing(key, node.at))
}

function raise(error: Error): never {
  throw error
}

/** 1 to `lengthMax` characters. */
function boundedText(node: YamlNode, what: string, lengthMax: number): string {
  const text = textOf(node, what)
  if (text.length > 0 && text.length <= lengthMax) return text
  throw fault('PROFILE_VALUE', node.at, `'${what}' has ${text.length} characters; expected 1 to ${lengthMax}`)
}
