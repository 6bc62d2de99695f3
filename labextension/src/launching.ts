/** The launch form as values: what it begins with, and what it asks for. Pure. */

import type { LaunchRequest } from './wire';

/** Where the code comes from. */
export interface Source {
  /** For people: `train.ipynb`, `cell of train.ipynb`. */
  title: string;
  /** The source text; empty when a file is run. */
  code: string;
  /** A script below the server's root. */
  path: string;
  /** Where local modules are looked up, below the server's root. */
  folder: string;
  /** The name that tracebacks show. */
  filename: string;
  /** Some of the code of the file, where it is at hand: tells the framework. */
  sample?: string;
  /** Called before the file is read: saves what is open and has changes. */
  prepare?: () => Promise<void>;
  /** What to fill the form with, of a job that was launched before. */
  filled?: LaunchRequest;
}

/** A job that was launched before, to be changed. */
export function sourceOf(name: string, filled: LaunchRequest): Source {
  return { title: name, code: filled.code, path: '', folder: '', filename: filled.filename, filled };
}

export const NO_SOURCE: Source = { title: '', code: '', path: '', folder: '', filename: 'job.py' };

/** What is written in the form. */
export interface Form {
  framework: string;
  workers: string;
  /** Counts by role, where there are any: they say what `workers` would. */
  roles: Record<string, string>;
  name: string;
  namespace: string;
  cpu: string;
  memory: string;
  gpu: string;
  profile: string;
  nproc: string;
  image: string;
  install: string;
  params: string;
  env: string;
  args: string;
  volumes: string;
  replace: boolean;
  code: string;
  submission: string;
}

/** `a=1` lines as an object; values are read as JSON where they are. */
export function pairs(text: string, json: boolean): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const line of text.split('\n').map(one => one.trim())) {
    const at = line.indexOf('=');
    if (at <= 0) {
      continue;
    }
    const raw = line.slice(at + 1).trim();
    let value: unknown = raw;
    if (json) {
      try {
        value = JSON.parse(raw);
      } catch {
        value = raw;
      }
    }
    found[line.slice(0, at).trim()] = value;
  }
  return found;
}

/** An object as `a=1` lines. */
function lines(values: Record<string, unknown> | undefined, json: boolean): string {
  return Object.entries(values ?? {})
    .map(([name, value]) => `${name}=${json ? JSON.stringify(value) : String(value)}`)
    .join('\n');
}

/** Words as a shell would split them, quotes and all. */
export function words(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(found => found[1] ?? found[2] ?? found[3] ?? '');
}

/** A word as it has to be written so that it stays one. */
function quoted(word: string): string {
  return /\s/.test(word) ? `"${word}"` : word;
}

/** Words with further ones, each once. */
export function joined(text: string, more: readonly string[]): string {
  return [...new Set([...words(text), ...more])].map(quoted).join(' ');
}

/** The form as it is at first. */
export function formOf(source: Source, submission: string, example: string): Form {
  const { filled } = source;
  return {
    framework: filled?.framework ?? guess(source.code || (source.sample ?? '')),
    workers: filled?.workers === null ? '' : String(filled?.workers ?? 2),
    roles: filled?.workers === null ? Object.fromEntries(Object.entries(filled.replicas).map(([role, count]) => [role, String(count)])) : {},
    name: filled ? `${source.title.slice(0, 46)}-${submission.slice(0, 5)}` : '',
    namespace: filled?.namespace ?? '',
    cpu: filled?.cpu ?? '',
    memory: filled?.memory ?? '',
    gpu: filled?.gpu ? String(filled.gpu) : '',
    profile: filled?.profile ?? '',
    nproc: (filled?.nproc ?? 1) > 1 ? String(filled?.nproc) : '',
    image: filled?.image ?? '',
    install: (filled?.install ?? []).map(quoted).join(' '),
    params: lines(filled?.params, true),
    env: lines(filled?.env, false),
    args: (filled?.args ?? []).map(quoted).join(' '),
    volumes: (filled?.volumes ?? []).join(' '),
    replace: false,
    code: source.code || (source.path ? '' : example),
    submission
  };
}

/** What the form asks for. */
export function requestOf(form: Form, source: Source): Partial<LaunchRequest> {
  const whole = (value: string) => (value.trim() ? Number(value) : null);
  const replicas = Object.fromEntries(Object.entries(form.roles).filter(([, count]) => count.trim()).map(([role, count]) => [role, Number(count)]));
  return {
    framework: form.framework,
    ...(source.path ? { path: source.path } : { code: form.code, filename: source.filename }),
    folder: source.folder,
    ...(Object.keys(replicas).length ? { workers: null, replicas } : { workers: whole(form.workers) }),
    name: form.name.trim(),
    namespace: form.namespace.trim(),
    cpu: form.cpu.trim(),
    memory: form.memory.trim(),
    gpu: whole(form.gpu) ?? 0,
    profile: form.profile,
    nproc: whole(form.nproc) ?? 1,
    image: form.image.trim(),
    install: words(form.install),
    params: pairs(form.params, true),
    env: pairs(form.env, false) as Record<string, string>,
    args: words(form.args),
    volumes: words(form.volumes),
    replace: form.replace,
    submission: form.submission,
    ...(source.filled?.like ? { like: source.filled.like } : {})
  };
}

/** The framework that code imports, for a beginning. */
export function guess(code: string): string {
  const marks: [string, RegExp][] = [
    ['tensorflow', /^\s*(import|from)\s+(tensorflow|keras)\b/m],
    ['mpi', /^\s*(import|from)\s+(mpi4py|horovod)\b/m],
    ['mxnet', /^\s*(import|from)\s+mxnet\b/m],
    ['chainer', /^\s*(import|from)\s+chainer(mn)?\b/m]
  ];
  return marks.find(([, mark]) => mark.test(code))?.[0] ?? 'pytorch';
}
