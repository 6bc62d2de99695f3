/** The launch form: what to run, with what, and what that would create, before anything is. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { UUID } from '@lumino/coreutils';
import * as React from 'react';

import { KubeflowError } from '../client';
import { useKubeflow } from '../components/context';
import { FrameworkMark } from '../components/parts';
import { hardware, memory, number } from '../format';
import { kubeflowIcon } from '../icons';
import { formOf, guess, joined, requestOf } from '../launching';
import type { Form, Source } from '../launching';
import { CommandIDs } from '../tokens';
import type { IKubeflow } from '../tokens';
import type { ClusterInfo, HardwareOffer, JobKey, PlanAnswer } from '../wire';
import { widgetOf } from './side';

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

/** A sentence of the server's as one that stands alone. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function Launch({ source, onDone }: { source: Source; onDone: () => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const [submission] = React.useState(() => UUID.uuid4().replace(/-/g, '').slice(-12));
  const [form, setForm] = React.useState<Form>(() => formOf(source, submission, EXAMPLE));
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
    setForm(before => ({ ...before, framework, roles: {} }));
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
          <Roles info={info} form={form} onChange={set('roles')} />
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

/** How many of each role, for who wants more than workers. */
function Roles(props: { info: ClusterInfo | null; form: Form; onChange: (roles: Form['roles']) => void }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const { info, form, onChange } = props;
  const roles = info?.frameworks.find(row => row.name === form.framework)?.roles ?? [];
  const [begun] = React.useState(Object.keys(form.roles).length > 0);
  return roles.length ? (
    <details open={begun}>
      <summary>{trans.__('Replicas by role, instead of workers')}</summary>
      <fieldset className="kfx-Grid" aria-label={trans.__('Replicas by role')}>
        {roles.map(role => (
          <Field
            key={role}
            label={role}
            value={form.roles[role] ?? ''}
            onChange={count => onChange({ ...form.roles, [role]: count })}
            type="number"
            min={0}
          />
        ))}
      </fieldset>
    </details>
  ) : null;
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
