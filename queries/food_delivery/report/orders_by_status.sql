-- One row is a status with the orders that are in it now.
select
    order_status,
    count(*) as orders,
    sum(total_amount) as total_amount
from fact_orders
group by order_status
order by orders desc, order_status
limit 10
