/** The launch form: what to run, with what, and what that would create, before anything is. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { UUID } from '@lumino/coreutils';
import * as React from 'react';

import { KubeflowError } from '../client';
import { useKubeflow } from '../components/context';
import { FrameworkMark } from '../components/parts';
import { hardware, memory, number } from '../format';
import { kubeflowIcon } from '../icons';
import { CommandIDs } from '../tokens';
import type { IKubeflow } from '../tokens';
import type { ClusterInfo, HardwareOffer, JobKey, LaunchRequest, PlanAnswer } from '../wire';
import { widgetOf } from './side';

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

const EXAMPLE = `import os
import time

rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
for epoch in range(10):
    time.sleep(0.5)
    print(f"epoch={epoch} loss={1 / (epoch + 1):.4f} progress={(epoch + 1) * 10}%")
print(f"replica {rank} of {world} is done")
`;

export class LaunchPanel extends MainAreaWidget {
  constructor(kf: IKubeflow, source: Source) {
    const box = { done: (): void => undefined };
    super({ content: widgetOf(kf, <Launch source={source} onDone={() => box.done()} />), translator: kf.translator });
    box.done = () => this.dispose();
    this.id = `kf-launch-${LaunchPanel.count++}`;
    this.title.label = source.title ? kf.trans.__('Launch %1', source.title) : kf.trans.__('New training job');
    this.title.icon = kubeflowIcon;
    this.title.closable = true;
    this.toolbar.hide();
    this.addClass('kfx-Main');
  }

  private static count = 0;
}

interface Form {
  framework: string;
  workers: string;
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
function joined(text: string, more: readonly string[]): string {
  return [...new Set([...words(text), ...more])].map(quoted).join(' ');
}

/** A sentence of the server's as one that stands alone. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function requestOf(form: Form, source: Source): Partial<LaunchRequest> {
  const whole = (value: string) => (value.trim() ? Number(value) : null);
  return {
    framework: form.framework,
    ...(source.path ? { path: source.path } : { code: form.code, filename: source.filename }),
    folder: source.folder,
    workers: whole(form.workers),
    ...(form.workers.trim() ? {} : { replicas: source.filled?.replicas ?? {} }),
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

function Launch({ source, onDone }: { source: Source; onDone: () => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const { filled } = source;
  const [submission] = React.useState(() => UUID.uuid4().replace(/-/g, '').slice(-12));
  const [form, setForm] = React.useState<Form>({
    framework: filled?.framework ?? guess(source.code || (source.sample ?? '')),
    workers: filled?.workers === null ? '' : String(filled?.workers ?? 2),
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
    code: source.code || (source.path ? '' : EXAMPLE),
    submission
  });
  const [info, setInfo] = React.useState<ClusterInfo | null>(null);
  const [plan, setPlan] = React.useState<PlanAnswer | null>(null);
  const [problem, setProblem] = React.useState<{ message: string; hint: string } | null>(null);
  const [busy, setBusy] = React.useState(false);
  const set = <K extends keyof Form>(key: K) => (value: Form[K]) => setForm(before => ({ ...before, [key]: value }));
  const go = React.useRef<HTMLButtonElement>(null);

  React.useEffect(() => {
    let timer: number | undefined;
    let live = true;
    const read = () =>
      void client.cluster().then(
        found => {
          if (live) {
            setInfo(found);
            // What is free is known once the cluster has answered.
            timer = found.link.state === 'connecting' ? window.setTimeout(read, 500) : undefined;
          }
        },
        () => setInfo(null)
      );
    read();
    return () => {
      live = false;
      window.clearTimeout(timer);
    };
  }, [client]);

  // The framework of a file that was not at hand is known once it was read; what the user chooses wins.
  const settled = React.useRef(!source.path || Boolean(source.sample));
  const settle = (code: string) => {
    if (!settled.current) {
      settled.current = true;
      setForm(before => ({ ...before, framework: guess(code) }));
    }
  };
  const ready = !source.path || Boolean(source.sample) || plan !== null || problem !== null;
  React.useEffect(() => {
    if (ready) {
      go.current?.focus();
    }
  }, [ready]);

  // What it would create follows the form, a moment after the last key.
  React.useEffect(() => {
    let live = true;
    const timer = window.setTimeout(() => {
      client.plan(requestOf(form, source)).then(
        found => {
          if (live) {
            setPlan(found);
            setProblem(null);
            settle(found.code);
          }
        },
        (error: unknown) => {
          if (live) {
            setPlan(null);
            setProblem(said(error));
          }
        }
      );
    }, 250);
    return () => {
      live = false;
      window.clearTimeout(timer);
    };
  }, [client, form, source]);

  const choose = (framework: string) => {
    settled.current = true;
    set('framework')(framework);
  };

  const launch = async () => {
    setBusy(true);
    try {
      await source.prepare?.();
      const key: JobKey = await client.launch(requestOf(form, source));
      kf.execute(CommandIDs.openJob, { ...key });
      onDone();
    } catch (error) {
      setProblem(said(error));
      setBusy(false);
    }
  };

  const free = info?.capacity;
  return (
    <form
      className="kfx kfx-Launch"
      aria-label={trans.__('New training job')}
      onSubmit={event => {
        event.preventDefault();
        void launch();
      }}
    >
      <div className="kfx-Launch-head">
        <div>
          <h1 className="kfx-Name">{source.title ? trans.__('Run %1 as a job', source.title) : trans.__('New training job')}</h1>
          <span className="kfx-dim">
            {info ? trans.__('on %1, namespace %2', info.name, form.namespace || info.namespace) : ' '}
          </span>
        </div>
        <button ref={go} type="submit" className="kfx-Button kfx-primary kfx-big" disabled={busy || !ready}>
          {busy ? trans.__('Launching …') : trans.__('Launch')}
        </button>
      </div>
      {problem && (
        <div className="kfx-Notice" role="alert">
          <b>{problem.message}</b>
          {problem.hint && <div>{problem.hint}</div>}
        </div>
      )}
      {plan && !problem && (
        <div className={`kfx-Fit${plan.room ? '' : ' kfx-Fit-no'}`} role="status">
          <b>{plan.name}</b> <span className="kfx-dim">{plan.kind}</span> {plan.fits}
        </div>
      )}
      {plan && !problem && plan.gaps.length > 0 && (
        <div className="kfx-Fit kfx-Fit-no" role="note">
          {plan.gaps.map(gap => (
            <div key={gap.sentence} className="kfx-Gap">
              <span>{sentence(gap.sentence)}</span>
              {gap.requirements.length > 0 && (
                <button type="button" className="kfx-Button" title={gap.requirements.join(' ')} onClick={() => set('install')(joined(form.install, gap.requirements))}>
                  {trans.__('Install at start')}
                </button>
              )}
            </div>
          ))}
        </div>
      )}
      <div className="kfx-Launch-body">
        <div className="kfx-Fields">
          <fieldset>
            <legend>{trans.__('Framework')}</legend>
            <div className="kfx-Choices" role="radiogroup" aria-label={trans.__('Framework')}>
              {(info?.frameworks ?? []).map(row => (
                <label key={row.name} className={`kfx-Choice${form.framework === row.name ? ' kfx-on' : ''}`}>
                  <input type="radio" name="framework" checked={form.framework === row.name} onChange={() => choose(row.name)} />
                  <FrameworkMark name={row.name} /> {row.title}
                </label>
              ))}
            </div>
          </fieldset>
          {info && (info.profiles.length > 0 || form.profile || info.fault) && (
            <Hardware info={info} chosen={form.profile} onChoose={set('profile')} />
          )}
          <fieldset className="kfx-Grid">
            <legend>{trans.__('Size')}</legend>
            <Field label={trans.__('Workers')} value={form.workers} onChange={set('workers')} type="number" min={1} />
            <Field label={trans.__('CPU each')} value={form.cpu} onChange={set('cpu')} placeholder={form.profile ? '' : trans.__('any')} />
            <Field label={trans.__('Memory each')} value={form.memory} onChange={set('memory')} placeholder={form.profile ? '' : '4Gi'} />
            <Field label={trans.__('GPU each')} value={form.gpu} onChange={set('gpu')} type="number" min={0} placeholder={form.profile ? '' : '0'} />
          </fieldset>
          {free && free.nodes > 0 && (
            <p className="kfx-dim">
              {trans.__(
                'Free now: %1 of %2 CPU, %3 of %4%5',
                number(free.free_cpu),
                number(free.cpu),
                memory(free.free_memory),
                memory(free.memory),
                free.gpu ? ` · ${hardware(0, 0, free.free_gpu)}` : ''
              )}
            </p>
          )}
          <fieldset className="kfx-Grid">
            <legend>{trans.__('Name')}</legend>
            <Field label={trans.__('Job name')} value={form.name} onChange={set('name')} placeholder={plan?.name ?? trans.__('made for you')} />
            <Field label={trans.__('Namespace')} value={form.namespace} onChange={set('namespace')} placeholder={info?.namespace ?? ''} />
          </fieldset>
          <Area
            label={trans.__('Parameters')}
            hint={trans.__('name=value, one a line; globals of the code')}
            value={form.params}
            onChange={set('params')}
          />
          <details>
            <summary>{trans.__('More')}</summary>
            <fieldset className="kfx-Grid">
              <Field label={trans.__('Image')} value={form.image} onChange={set('image')} placeholder={image(info, form.framework)} />
              <Field label={trans.__('Processes each')} value={form.nproc} onChange={set('nproc')} type="number" min={1} placeholder="1" />
            </fieldset>
            <Field label={trans.__('Install at start')} value={form.install} onChange={set('install')} placeholder="einops scikit-learn==1.6" />
            <Area label={trans.__('Environment')} hint={trans.__('NAME=value, one a line')} value={form.env} onChange={set('env')} />
            <Field label={trans.__('Arguments')} value={form.args} onChange={set('args')} placeholder="--epochs 10" />
            <Field label={trans.__('Volumes')} value={form.volumes} onChange={set('volumes')} placeholder="CLAIM:/PATH CLAIM:/PATH:ro" />
            <label className="kfx-Check">
              <input type="checkbox" checked={form.replace} onChange={event => set('replace')(event.target.checked)} />{' '}
              {trans.__('replace a job of that name')}
            </label>
          </details>
        </div>
        <div className="kfx-Launch-side">
          {source.path ? (
            <FileCode path={source.path} plan={plan} />
          ) : (
            <label className="kfx-Field">
              <span>{trans.__('Code')}</span>
              <textarea
                className="kfx-Text"
                spellCheck={false}
                value={form.code}
                rows={Math.min(22, Math.max(8, form.code.split('\n').length + 1))}
                onChange={event => set('code')(event.target.value)}
              />
            </label>
          )}
          <details className="kfx-Plan">
            <summary>{trans.__('What would be created')}</summary>
            {plan && (
              <>
                <pre className="kfx-Pre" tabIndex={0}>
                  {plan.summary}
                </pre>
                <h2 className="kfx-H">{trans.__('As a cell')}</h2>
                <pre className="kfx-Pre" tabIndex={0}>
                  {plan.magic.split('\n')[0]}
                </pre>
                <h2 className="kfx-H">{trans.__('YAML')}</h2>
                <pre className="kfx-Pre kfx-Plan-yaml" tabIndex={0}>
                  {plan.yaml.replace(/code\.tar\.gz: .*/g, 'code.tar.gz: …')}
                </pre>
              </>
            )}
          </details>
        </div>
      </div>
    </form>
  );
}

/** What a script or notebook would run, and what of a notebook would not. */
function FileCode({ path, plan }: { path: string; plan: PlanAnswer | null }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <>
      <p>
        {path.endsWith('.ipynb') ? trans.__('Runs the notebook') : trans.__('Runs the file')} <code>{path}</code>
      </p>
      {plan && plan.dropped.length > 0 && (
        <details className="kfx-Dropped">
          <summary>{trans._n('%1 thing of the notebook does not run in the job', '%1 things of the notebook do not run in the job', plan.dropped.length)}</summary>
          <ul>
            {plan.dropped.map((line, place) => (
              <li key={place}>
                <code>{line}</code>
              </li>
            ))}
          </ul>
        </details>
      )}
      {plan?.code && (
        <pre className="kfx-Pre kfx-FileCode" tabIndex={0} aria-label={trans.__('Code of %1', path)}>
          {plan.code}
        </pre>
      )}
    </>
  );
}

/** Hardware by name, and whether there is room for it. */
function Hardware(props: { info: ClusterInfo; chosen: string; onChoose: (slug: string) => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  const { info, chosen, onChoose } = props;
  const one = info.profiles.find(offer => offer.slug === chosen);
  const waits = ({ fits, ever }: HardwareOffer) => (ever ? (fits ? '' : trans.__('would wait')) : trans.__('never starts here'));
  return (
    <fieldset>
      <legend>{trans.__('Hardware')}</legend>
      <label className="kfx-Field">
        <span>{trans.__('Profile of each worker')}</span>
        <select className="kfx-Select" value={chosen} onChange={event => onChoose(event.target.value)}>
          <option value="">{trans.__('none, only what is said below')}</option>
          {info.profiles.map(offer => (
            <option key={offer.slug} value={offer.slug}>
              {[offer.title, offer.hardware, waits(offer)].filter(Boolean).join(' · ')}
            </option>
          ))}
          {chosen && !one && <option value={chosen}>{chosen}</option>}
        </select>
      </label>
      {one?.room && <p className={one.fits ? 'kfx-dim' : 'kfx-Fit kfx-Fit-no'}>{one.room}</p>}
      {info.fault && <p className="kfx-Fit kfx-Fit-no">{info.fault}</p>}
    </fieldset>
  );
}

function Field(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  type?: string;
  min?: number;
}): React.JSX.Element {
  return (
    <label className="kfx-Field">
      <span>{props.label}</span>
      <input
        className="kfx-Input"
        type={props.type ?? 'text'}
        min={props.min}
        placeholder={props.placeholder}
        value={props.value}
        onChange={event => props.onChange(event.target.value)}
      />
    </label>
  );
}

function Area(props: { label: string; hint: string; value: string; onChange: (value: string) => void }): React.JSX.Element {
  return (
    <label className="kfx-Field">
      <span>
        {props.label} <span className="kfx-dim">{props.hint}</span>
      </span>
      <textarea className="kfx-Input" rows={2} spellCheck={false} value={props.value} onChange={event => props.onChange(event.target.value)} />
    </label>
  );
}

function image(info: ClusterInfo | null, framework: string): string {
  return info?.frameworks.find(row => row.name === framework)?.image ?? '';
}

function said(error: unknown): { message: string; hint: string } {
  if (error instanceof KubeflowError) {
    return { message: error.message, hint: error.hint };
  }
  return { message: error instanceof Error ? error.message : String(error), hint: '' };
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
