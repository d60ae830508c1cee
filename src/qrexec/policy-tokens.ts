/*
 * How a policy names VMs (qubes-core-qrexec doc/multifile-policy.markdown). Which token may stand in which column is
 * part of the syntax; a token in a wrong column makes the whole policy invalid.
 */

export type Token =
  | { readonly kind: 'all' | 'anyvm' | 'adminvm' | 'default' | 'dispvm' }
  /** `value`: a VM's name or `uuid:…`; need not exist. */
  | { readonly kind: 'name'; readonly value: string }
  | { readonly kind: 'tag' | 'type'; readonly value: string }
  /** A disposable made from the VM `value`. */
  | { readonly kind: 'dispvm-of'; readonly value: string }
  /** A disposable made from a VM that has the tag `value`. */
  | { readonly kind: 'dispvm-tag'; readonly value: string }

type Kind = Token['kind']

/** source and target: columns of a rule; redirect: `target=` and `default_target=`; request: what a caller asks for. */
export type Column = 'source' | 'target' | 'redirect' | 'request'

const allowedIn: Readonly<Record<Column, readonly Kind[]>> = {
  source: ['name', 'all', 'anyvm', 'adminvm', 'tag', 'type', 'dispvm-of', 'dispvm-tag'],
  target: ['name', 'all', 'anyvm', 'adminvm', 'default', 'dispvm', 'tag', 'type', 'dispvm-of', 'dispvm-tag'],
  redirect: ['name', 'adminvm', 'dispvm', 'dispvm-of'],
  request: ['name', 'adminvm', 'default', 'dispvm', 'dispvm-of'],
}

/** `null`: not a token, or not one for this column. */
export function parseToken(text: string, column: Column): Token | null {
  const token = anyToken(text)
  return token !== null && allowedIn[column].includes(token.kind) ? token : null
}

function anyToken(text: string): Token | null {
  switch (text) {
    case '':
      return null
    case '*':
      return { kind: 'all' }
    case '@anyvm':
    case '@adminvm':
    case '@default':
    case '@dispvm':
      return { kind: text.slice(1) as 'anyvm' | 'adminvm' | 'default' | 'dispvm' }
  }
  if (!text.startsWith('@')) return { kind: 'name', value: text }
  return (
    withPrefix(text, '@dispvm:@tag:', 'dispvm-tag') ??
    withPrefix(text, '@dispvm:', 'dispvm-of') ??
    withPrefix(text, '@tag:', 'tag') ??
    withPrefix(text, '@type:', 'type')
  )
}

function withPrefix(
  text: string,
  prefix: string,
  kind: 'tag' | 'type' | 'dispvm-of' | 'dispvm-tag',
): Token | null {
  const value = text.slice(prefix.length)
  return text.startsWith(prefix) && value !== '' && !value.startsWith('@') ? { kind, value } : null
}

/** As it stands in a policy; `parseToken` reads it back. */
export function renderToken(token: Token): string {
  switch (token.kind) {
    case 'all':
      return '*'
    case 'anyvm':
    case 'adminvm':
    case 'default':
    case 'dispvm':
      return `@${token.kind}`
    case 'name':
      return token.value
    case 'tag':
    case 'type':
      return `@${token.kind}:${token.value}`
    case 'dispvm-of':
      return `@dispvm:${token.value}`
    case 'dispvm-tag':
      return `@dispvm:@tag:${token.value}`
  }
}
