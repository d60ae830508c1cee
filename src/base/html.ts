/* Pages that are written to files: all text in them passes through `html`, which escapes it. */

/** Markup that `html` made, or that is known to be some. */
export interface Markup {
  readonly markup: string
}
type Content = string | number | Markup | readonly Markup[]

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function html(parts: TemplateStringsArray, ...contents: readonly Content[]): Markup {
  return { markup: String.raw({ raw: parts }, ...contents.map(textOf)) }
}

function textOf(content: Content): string {
  if (typeof content === 'string' || typeof content === 'number')
    return String(content).replace(/[&<>"']/g, character => escapes[character] ?? '')
  return 'markup' in content ? content.markup : content.map(({ markup }) => markup).join('')
}
