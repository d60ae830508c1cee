/*
 * What a plain (unquoted) word means in YAML 1.1, exactly as PyYAML's safe loader decides it (yaml/resolver.py of
 * PyYAML 6), because stock qubesd reads the same file with it. The specification differs in places (`y` is a boolean
 * there, and `1e3` a number), and so do other libraries.
 */

export type ScalarType = 'text' | 'boolean' | 'integer' | 'float' | 'null' | 'date' | 'merge' | 'other'

const patterns: readonly (readonly [ScalarType, RegExp])[] = [
  ['null', /^(?:~|null|Null|NULL|)$/],
  ['boolean', /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/],
  [
    'float',
    /^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/,
  ],
  [
    'integer',
    /^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$/,
  ],
  [
    'date',
    /^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$/,
  ],
  ['merge', /^<<$/],
  // `=` has a type of its own that no loader constructs: PyYAML refuses the file.
  ['other', /^=$/],
]

const mayBeginOther = /^[-+0-9.~<=yYnNtTfFoO]|^$/

export function typeOfPlainScalar(text: string): ScalarType {
  if (!mayBeginOther.test(text)) return 'text'
  for (const [type, pattern] of patterns) if (pattern.test(text)) return type
  return 'text'
}

export function booleanOfScalar(text: string): boolean {
  return /^(?:yes|true|on)$/i.test(text)
}
