/* Line charts as SVG, readable on light and dark pages. */

export interface Axis {
  readonly title: string
  readonly logarithmic: boolean
}

export interface Chart {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly {
    readonly name: string
    readonly points: readonly (readonly [number, number])[]
  }[]
}

const [width, height] = [720, 420]
const [left, right, top, bottom] = [70, 150, 40, 50]
/** Told apart also by those who see no red and green (Okabe and Ito). */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9']

interface Scale {
  readonly at: (value: number) => number
  readonly ticks: readonly number[]
}

export function drawChart({ title, x, y, series }: Chart): string {
  const points = series.flatMap(one => one.points)
  const across = scaleOf(
    x,
    points.map(([value]) => value),
    left,
    width - right,
    points.map(([value]) => value),
  )
  const up = scaleOf(
    y,
    points.map(([, value]) => value),
    height - bottom,
    top,
  )
  const lines = [
    ...across.ticks.map(tick => mark(across.at(tick), height - bottom + 18, 'middle', String(tick))),
    ...up.ticks.map(tick => grid(up.at(tick)) + mark(left - 8, up.at(tick) + 4, 'end', String(tick))),
    mark((left + width - right) / 2, height - 10, 'middle', x.title),
    mark(left, top - 8, 'start', y.title),
    `<text x="${width / 2}" y="18" text-anchor="middle" font-weight="bold">${escaped(title)}</text>`,
    ...series.map((one, at) => {
      const colour = colours[at % colours.length]
      const path = one.points.map(([a, b]) => `${across.at(a).toFixed(1)},${up.at(b).toFixed(1)}`)
      const [, last = 0] = one.points.at(-1) ?? []
      const dots = path.map(point => `<circle r="3" cx="${point.replace(',', '" cy="')}" fill="${colour}"/>`)
      const label = `<rect x="${width - right + 14}" y="${top + 22 * at}" width="12" height="12" fill="${colour}"/>`
      const text = `${one.name} ${Number(last.toPrecision(3))}`
      return `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path.join(' ')}"/>${dots.join('')}${label}${mark(width - right + 32, top + 22 * at + 11, 'start', text)}`
    }),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${escaped(title)}">
<rect width="${width}" height="${height}" fill="#fff"/>
${lines.join('\n')}
</svg>
`
}

/** From `from` to `to` pixels. A scale that is not logarithmic begins at 0. */
function scaleOf(
  { logarithmic }: Axis,
  values: readonly number[],
  from: number,
  to: number,
  wanted: readonly number[] = [],
): Scale {
  const [least, most] = [Math.min(...values), Math.max(...values)]
  const [low, high] = logarithmic ? [Math.log10(least), Math.log10(most)] : [0, most * 1.1]
  const place = (value: number) => (logarithmic ? Math.log10(value) : value)
  const at = (value: number) => from + ((place(value) - low) / (high - low || 1)) * (to - from)
  const ticks = wanted.length > 0 ? [...new Set(wanted)] : logarithmic ? decades(least, most) : steps(high)
  return { at, ticks }
}

function decades(least: number, most: number): readonly number[] {
  const ticks: number[] = []
  for (let decade = Math.floor(Math.log10(least)); decade <= Math.log10(most); decade++)
    for (const step of [1, 2, 5]) {
      const tick = Number((step * 10 ** decade).toPrecision(2))
      if (tick >= least && tick <= most) ticks.push(tick)
    }
  return ticks
}

function steps(high: number): readonly number[] {
  const step = [10, 20, 50, 100, 200, 500, 1000].find(one => high / one <= 8) ?? high / 8
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, at) => at * step)
}

function grid(y: number): string {
  return `<line x1="${left}" x2="${width - right}" y1="${y.toFixed(1)}" y2="${y.toFixed(1)}" stroke="#ddd"/>`
}

function mark(x: number, y: number, anchor: 'start' | 'middle' | 'end', text: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped(text)}</text>`
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, one => `&#${one.charCodeAt(0)};`)
}
