/** The record of what a job was made of, as a table. Pure. */

/** One line of the record: a text, or parts of it by name. */
export interface Fact {
  name: string;
  text: string;
  parts: [string, string][];
}

const ORDER = ['user', 'code', 'commit', 'main', 'files', 'image', 'python', 'packages', 'install', 'profile', 'params', 'args', 'output'];

/** What is recorded, in an order that people read; what a newer version records comes last. */
export function factsOf(provenance: Record<string, unknown>): Fact[] {
  const place = (name: string) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
  return Object.entries(provenance)
    .filter(([name, value]) => !isNothing(value) && !(name === 'files' && isOnly(value, provenance.main)))
    .map(([name, value]) => ({ name, text: isParts(value) ? '' : plain(value), parts: isParts(value) ? partsOf(value) : [] }))
    .sort((a, b) => place(a.name) - place(b.name));
}

function plain(value: unknown): string {
  if (Array.isArray(value)) {
    return value.map(plain).join(', ');
  }
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function partsOf(value: object): [string, string][] {
  return Object.entries(value).map(([name, part]) => [name, plain(part)]);
}

function isParts(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined || value === '' || (typeof value === 'object' && !Object.keys(value).length);
}

function isOnly(files: unknown, main: unknown): boolean {
  return Array.isArray(files) && files.length === 1 && files[0] === main;
}
