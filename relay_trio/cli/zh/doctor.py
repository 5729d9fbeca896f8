"""What `doctor` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "--channel: there is no channel {name}; channels: {there}": "--channel：没有渠道 {name}；现有渠道：{there}",
    "--model names what --spend asks for: say --spend too": "--model 指定 --spend 请求的模型：请同时给出 --spend",
    "all is well": "一切正常",
    "{errors} errors, {warnings} warnings": "{errors} 个错误，{warnings} 个警告",
    "this machine": "本机",
    "none: no provider is configured, so the built-in demo answers": "无：没有配置服务商，由内置演示应答",
    "set OPENAI_API_KEY, or write [[channels]] into relay.toml": "请设置 OPENAI_API_KEY，或在 relay.toml 中写入 [[channels]]",
    "the provider accepts connections and does not answer in time; does its status page know more?": (
        "服务商接受连接却不按时应答；它的状态页有说明吗？"
    ),
    "is the key whole, of this provider, and still valid?": "密钥是否完整、属于这个服务商、仍然有效？",
    "ask again later; the other keys are answered": "请稍后再试；其他密钥有应答",
    'base_url = "{url}"': 'base_url = "{url}"',
    "the way is open, but the request failed: does something in between speak HTTP for itself?": (
        "路径是通的，但请求失败：中间是否有设备自行处理 HTTP？"
    ),
    "the provider has a problem of its own, or too many ask it: try again later": "服务商自身有问题，或请求过多：请稍后再试",
    "is it the address of the API, as the provider's documents have it?": "这是服务商文档中给出的 API 地址吗？",
    "not tried: no model is known; name one with --model": "未尝试：不知道有哪些模型；请用 --model 指定",
    # the findings
    "note": "提示",
    "do: {advice}": "建议：{advice}",
    # the way
    "{url}, as the channel says": "{url}（渠道的设置）",
    "none": "无",
    "none; the system names one ({host}), which the relay does not use": "无；系统指定了一个（{host}），但中继不使用它",
    'if this provider is only reached through it: proxy = "env:{variable}" on the channel': (
        '如果只有经过它才能到达这个服务商：请在渠道上设置 proxy = "env:{variable}"'
    ),
    "{host}: no answer within {seconds} s": "{host}：{seconds} 秒内没有应答",
    "the name server does not answer: see /etc/resolv.conf; in a container, give --dns": (
        "域名服务器不应答：请看 /etc/resolv.conf；在容器中请给出 --dns"
    ),
    "is the name right? Does the name server know it? In a container, it may need --dns": (
        "名字是否正确？域名服务器是否知道它？在容器中可能需要 --dns"
    ),
    "the relay tries the addresses in turn, so each new connection may lose time to the others": (
        "中继会依次尝试各个地址，所以每个新连接都可能因不通的地址而耽误时间"
    ),
    "no answer within {seconds} s": "{seconds} 秒内没有应答",
    "nothing listens there: is the port right, and does the server run?": "那里没有程序在监听：端口是否正确？服务器是否在运行？",
    "is there a way from here to it? A firewall, a missing route, or a proxy that has to be used": (
        "从这里能到达它吗？可能有防火墙、缺少路由，或必须使用代理"
    ),
    "the proxy does not answer when it is asked for a way to {target}": "请求代理打开通往 {target} 的通道，它没有应答",
    "is it an HTTP proxy, and is its port right?": "它是 HTTP 代理吗？端口是否正确？",
    "the proxy refuses a way to {target} ({status})": "代理拒绝打开通往 {target} 的通道（{status}）",
    "it wants a user and a password: http://user:password@host:port": "它要求用户名和密码：http://user:password@host:port",
    "does the proxy allow this host and port? Does the proxy itself reach it?": "代理允许这个主机和端口吗？代理自己能到达吗？",
    "the proxy opened a way to {target}": "代理打开了通往 {target} 的通道",
    "no end of the handshake within {seconds} s": "{seconds} 秒内没有完成握手",
    "something between here and there swallows TLS: a firewall that inspects it, or a wrong port": (
        "中间有设备吞掉了 TLS：做检查的防火墙，或端口不对"
    ),
    "what answers there does not speak TLS": "那里应答的程序不使用 TLS",
    "http:// in base_url?": "base_url 中应写 http://？",
    "the handshake failed ({why})": "握手失败（{why}）",
    "something between here and there cuts TLS off, or the server wants another version of it": (
        "中间有设备切断了 TLS，或服务器要求其他版本"
    ),
    "no name that can be looked up": "不是可以解析的名字",
    # the certificate
    "{version}, certificate of {names} by {issuer}, {life}": "{version}，证书属于 {names}，由 {issuer} 签发，{life}",
    "whoever runs the server has to renew it": "须由服务器的运营者更新证书",
    "{why}: certificate of {names} by {issuer}, {life}": "{why}：证书属于 {names}，由 {issuer} 签发，{life}",
    "whoever runs the server has to renew it; or this machine's clock is wrong": "须由服务器的运营者更新证书；也可能是本机时钟不对",
    "the server has another name: put one that its certificate has into base_url ({names})": (
        "服务器用的是另一个名字：请在 base_url 中写上证书里的名字（{names}）"
    ),
    "nobody whom this machine trusts vouches for it: a proxy that opens TLS, or an own authority; "
    "put its certificate into a file and name it in RELAY_CA_BUNDLE": (
        "本机信任的机构都不为它担保：可能是解开 TLS 的代理，或自建的证书机构；请把其证书存成文件，并在 RELAY_CA_BUNDLE 中指明"
    ),
    "{days} days left": "还剩 {days} 天",
    "ended {days} days ago": "{days} 天前已到期",
    # the clock
    "no provider told the time, so nothing is known of this machine's clock": "没有服务商给出时间，无法判断本机时钟",
    "right, by the Date of {names}": "准确（依据 {names} 的 Date）",
    "{seconds:.0f} s ahead of the Date of {names}": "比 {names} 的 Date 快 {seconds:.0f} 秒",
    "{seconds:.0f} s behind the Date of {names}": "比 {names} 的 Date 慢 {seconds:.0f} 秒",
    "keys expire and tokens are signed by it: let it be set from the network (timedatectl set-ntp true)": (
        "密钥过期和令牌签名都依赖时钟：请让它从网络校时（timedatectl set-ntp true）"
    ),
    # the machine
    "this system has no limit for them": "本系统对此没有限制",
    "{limit}, which allows {streams} streams a worker": "{limit}，每个工作进程可承载 {streams} 个流",
    "raise the hard limit: LimitNOFILE= in systemd, ulimits: nofile in Compose, --ulimit nofile= for docker run": (
        "请提高硬限制：systemd 用 LimitNOFILE=，Compose 用 ulimits: nofile，docker run 用 --ulimit nofile="
    ),
    "{told}, and RELAY_MAX_CONCURRENCY is {wanted}": "{told}，而 RELAY_MAX_CONCURRENCY 是 {wanted}",
    "no directory for the sockets and metrics that workers share: {names}": "没有可供工作进程共享套接字和指标的目录：{names}",
    "mount a tmpfs at /tmp, or name another directory in TMPDIR": "请在 /tmp 挂载 tmpfs，或用 TMPDIR 指定其他目录",
    "{directory}, where a successor finds this relay": "{directory}，接替者在此找到这个中继",
    "{told}, cannot be written to": "{told}，但不可写",
    "give it to the user that runs the relay, or unset RELAY_RUN_DIRECTORY": (
        "请把它交给运行中继的用户，或取消 RELAY_RUN_DIRECTORY"
    ),
    "{free} MiB free in {directory}; the log goes to stdout": "{directory} 剩余 {free} MiB；日志写到标准输出",
    "make room there: workers share their metrics in it": "请腾出空间：工作进程在那里共享指标",
    "{address}: any that is free": "{address}：任一空闲端口",
    "ports below 1024 belong to root: choose a higher one, or give CAP_NET_BIND_SERVICE": (
        "1024 以下的端口属于 root：请选更大的端口，或授予 CAP_NET_BIND_SERVICE"
    ),
    "{address} may not be taken by this user": "当前用户不得使用 {address}",
    "{address} is free": "{address} 空闲",
    "{address}: relay_trio {version} serves there, for {seconds:.0f} s": "{address}：relay_trio {version} 在此服务，已 {seconds:.0f} 秒",
    "{address} cannot be listened on ({why})": "无法监听 {address}（{why}）",
    "an address of this machine, or 0.0.0.0 for all of them": "请用本机的地址，或用 0.0.0.0 表示全部",
    "stop that program, or choose another port (RELAY_PORT)": "请停止那个程序，或换一个端口（RELAY_PORT）",
    # the completion
    "not tried: {adaptor} speaks no chat completions": "未尝试：{adaptor} 不支持 chat completions",
    "{model}: no answer ({why})": "{model}：没有应答（{why}）",
    ", {taken} + {given} tokens": "，{taken} + {given} tokens",
    "{model} answered in {seconds:.1f} s{tokens}": "{model} 在 {seconds:.1f} 秒内应答{tokens}",
    "{model}: {status}, {message}": "{model}：{status}，{message}",
    "try another model with --model; is the account in credit?": "请用 --model 换一个模型；账户余额是否充足？",
}
